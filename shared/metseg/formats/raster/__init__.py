"""PNG, JPEG, TIFF and ZIP of slices."""

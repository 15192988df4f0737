"""NIfTI: headers of volumes in, masks and probability maps out."""

"""Building blocks: the slice viewer, with its JavaScript in `assets`, and error messages with automatic retry."""

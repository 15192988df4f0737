"""NIfTI: volumes in, masks and probability maps out."""

"""Bytes to volumes, and masks to bytes.

Content decides what a file is, never its name, and every upload is treated as hostile: `inspect` reads headers only,
and both `inspect` and `read` raise nothing but `BadInput`, whatever the bytes are. `reader` dispatches to `raster`
(PNG, JPEG, TIFF, ZIP of slices), `nifti` and `dicom`; `study` says how a new format plugs in.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

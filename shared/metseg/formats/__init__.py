"""Bytes to volumes, and masks to bytes.

Content decides what a file is, never its name, and every upload is treated as hostile: `inspect_upload` reads headers
only, and both it and `read_volume` raise nothing but `BadInput`, whatever the bytes are.

- `reader` opens a study with `raster` (PNG, JPEG, TIFF, ZIP of slices), `volumes` (NIfTI, NRRD, MetaImage) or `dicom`;
  `study` says how a new format plugs in. `sniff` detects formats, `archive` reads ZIPs, `limits` are checked by
  headers.
- `sequences` combines the sequences of a study of volumes; `roles` finds them by their names.
- `writers` writes masks and probability maps.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

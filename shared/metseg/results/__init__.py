"""The stored results of a finished segmentation, and the files that people download.

- `build`: the `Result` and the artefacts stored with it; `mask_artefacts`: those that a review replaces;
  `slice_archive`: the rendered slices.
- `previews`: images of a job while it runs.
- `exports`: the registry of output formats, each made from the artefacts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""What the store keeps of a finished segmentation, and what people take away.

- `build`: the `Result` and the artefacts beside it; `slice_archive` holds the rendered slices.
- `previews`: pictures of a job while it runs.
- `exports`: the registry of output formats, each made from what is kept.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

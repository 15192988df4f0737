"""Arrays and geometry: what a study's pixels are, and what is computed from them. No bytes, no network.

- `volume`: the pixels of one study and where they lie in the patient.
- `orientation`, `registration`: the order of voxels, and one sequence on another's grid.
- `preprocess`: a volume to model input and exactly back; training and serving share it.
- `lesions`: components of a mask, measured as RANO-BM asks.
- `rendering`: slices as a screen shows them; `lookup_tables` makes that and `preprocess` fast.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

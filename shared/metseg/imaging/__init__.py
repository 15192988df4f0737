"""Arrays and geometry: the pixels of a study and what is computed from them. No bytes, no network.

- `volume`: the pixels of one study and their position in the patient; `channels`, `arrays`: its sequences and types.
- `orientation`, `registration`: the order of voxels, and the resampling of one sequence onto another's grid;
  `rigid_motion`, `visit_motion`: how a head moved between two images of one visit, or of two.
- `preprocess`: from a volume to model input and exactly back; training and serving share it. `foreground` finds the
  head, `lookup_tables` make this and `rendering` fast.
- `lesions`: components of a mask, measured as defined by RANO-BM.
- `rendering`: slices as a screen shows them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

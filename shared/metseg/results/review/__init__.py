"""A reader's review, applied to the model's own answer.

- `masks`: thresholds and corrected voxels give the masks of the structures.
- `decisions`: which components are lesions, which are joined or rejected, their labels and targets.
- `apply`: both in order, with the figures that follow. A pure function: the same answer and review give the same.
- `artefacts`: reads the stored answer of a model, and writes the reviewed one.

What a review means is said in `metseg.contracts.review`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

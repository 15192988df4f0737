"""From a volume to its lesions, with a model.

- `segmentation`: the pipeline over any `Predictor`; `predictor` is the one that runs ONNX.
- `model_cache`: the versions that a process has loaded, and the champion among them.
- `uncertainty`, `out_of_distribution`: how far a segmentation can be trusted.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

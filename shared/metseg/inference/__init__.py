"""From a volume to its lesions, with a model.

- `pipeline`: all of it in one function, for one study.
- `segmentation`: the mask and its lesions, over any `Predictor`; `predictor` is the one that runs ONNX.
- `uncertainty`, `out_of_distribution`: how far a segmentation can be trusted.
- `model_cache`: the versions that a process has loaded, and the champion among them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

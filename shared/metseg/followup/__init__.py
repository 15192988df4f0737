"""Two or more studies of a patient: where each lesion was, what became of it, and the response that follows.

- `time_points`: a study with what a follow-up needs of it.
- `alignment`: the heads of all studies onto that of the first.
- `matching`: which lesion of one study is which of the next; `tracks`: each lesion over all dates.
- `response`: sums and response as RANO-BM defines them.
- `places`: where a lesion is, or would be, in each study.
- `comparison`: all of it, from the studies to the result.
- `names`: what people call studies and responses.
- `report`: the result to print, with its `chart`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The files that people download of a finished job, made from its stored artefacts.

- `registry`: the one list of them: name, media type, file name and writer. A new output is a new entry.
- `finished_job`: what a writer needs of a job. The gateway reads it from the store, `metseg --local` from memory, so
  that both give the same bytes.
- `maps`, `overlays`, `contours`, `animation`, `tables`, `report_page`: the writers. They work slice by slice, so
  that memory does not grow with the study.

Importing the package, or `EXPORTS` from it, loads no imaging library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

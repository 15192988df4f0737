"""The client of the REST API, for the page, the command line, tests and other programs.

- `http_client`: the calls of the REST API, of which `result_reader` reads results; `connection`: retries and errors.
- `job_pages`: all jobs, page by page; `local_studies`: which files of a folder are a study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

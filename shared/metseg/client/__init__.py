"""The gateway's client, for the page, the command line, tests and programs of your own.

- `http_client`: every call of the REST API.
- `local_studies`: which files of a folder are one study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The life of a job: submit, lease, progress, finish, fail, cancel, recover, expire.

The store holds the truth (`store`), Redis only speeds things up (`index`), and a message in the queue may arrive twice,
late, or for nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

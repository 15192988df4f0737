"""The object store: one small interface over any S3 server or a local folder.

    store = open_store(settings())
    store.put("jobs/1/input/0000", stream)
    with store.stream("jobs/1/input/0000") as chunks: ...

An object becomes visible whole or not at all. `StoreUnavailable` is raised after a bounded number of retries where the
store does not answer, `NotFound` where an object does not exist. Threads may share a store; forked processes may not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

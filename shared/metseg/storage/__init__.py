"""Where bytes live: one small interface over any S3 server or a folder.

    store = open_store(settings())
    store.put("jobs/1/input/0000", stream)
    with store.stream("jobs/1/input/0000") as chunks: ...

An object becomes visible whole or not at all. A store that does not answer is `StoreUnavailable`, after bounded
retries; an object that is not there is `NotFound`. A store may be shared by threads, not by forked processes.
"""

from metseg.settings import Settings
from metseg.storage.base import KEY_DAYS, ObjectInfo, ObjectStore
from metseg.storage.local_folder import DirectoryStore
from metseg.storage.ranged_file import Ranged
from metseg.storage.s3 import S3Store

__all__ = ["KEY_DAYS", "DirectoryStore", "ObjectInfo", "ObjectStore", "Ranged", "S3Store", "open_store"]


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name.

    Raises:
        ValueError: they name none, or two.
    """
    if settings.s3_endpoint and settings.store_directory:
        raise ValueError("Set METSEG_S3_ENDPOINT or METSEG_STORE_DIRECTORY, not both.")
    if settings.store_directory:
        return DirectoryStore(settings.store_directory)
    if not settings.s3_endpoint:
        raise ValueError("Set METSEG_S3_ENDPOINT (host:port) or METSEG_STORE_DIRECTORY (a folder).")
    return S3Store(
        settings.s3_endpoint,
        settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        timeout_s=settings.s3_timeout_s,
    )

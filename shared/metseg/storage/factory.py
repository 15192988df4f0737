"""The store that the settings name."""

from metseg.settings import Settings
from metseg.storage.base import ObjectStore
from metseg.storage.local_folder import LocalFolderStore
from metseg.storage.s3 import S3Store

__all__ = ["open_store"]


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name.

    Raises:
        ValueError: they name none, or two.
    """
    if settings.s3_endpoint and settings.store_directory:
        raise ValueError("Set METSEG_S3_ENDPOINT or METSEG_STORE_DIRECTORY, not both.")
    if settings.store_directory:
        return LocalFolderStore(settings.store_directory)
    if not settings.s3_endpoint:
        raise ValueError("Set METSEG_S3_ENDPOINT (host:port, or https://host) or METSEG_STORE_DIRECTORY (a folder).")
    return S3Store(
        settings.s3_host,
        settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        timeout_s=settings.s3_timeout_s,
    )

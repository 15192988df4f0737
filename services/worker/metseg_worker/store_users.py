"""The store's access keys of gateway, worker and trainer, each with only the permissions of infra/store/policies.

A service finds its key in two files of a folder that no other service mounts. If the server cannot create users, all
three get the key of the set-up, and the log says so.
"""

import json
import logging
import os
import secrets
from pathlib import Path
from typing import Any

from metseg.errors import StoreUnavailable
from metseg.settings import Settings
from metseg.storage import S3Users

__all__ = ["POLICIES", "SERVICES", "policy", "read_key", "write_key", "write_keys"]

SERVICES = ("gateway", "worker", "trainer")
POLICIES = Path("infra/store/policies")
"""Relative to the code, in the repository as in the image."""
ACCESS, SECRET = "access-key", "secret-key"
_BUCKET = "arn:aws:s3:::metseg"

log = logging.getLogger("metseg_worker.setup")


def policy(service: str, bucket: str) -> dict[str, Any]:
    """What a service may do in the store.

    Args:
        service: one of `SERVICES`.
        bucket: that the policy is for.

    Returns:
        An IAM policy document.
    """
    text = (POLICIES / f"{service}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text.replace(_BUCKET, f"arn:aws:s3:::{bucket}"))
    return document


def write_keys(settings: Settings, folder: Path) -> None:
    """Write the key of each service into two files of its folder, `access-key` and `secret-key`.

    A key that was written before keeps its secret, so that a running service is not interrupted.

    Args:
        settings: with the access of the root user.
        folder: with a folder for each service.

    Raises:
        StoreUnavailable: the store does not answer or refuses, or a folder cannot be written.
    """
    root = (settings.s3_access_key, settings.s3_secret_key.get_secret_value())
    users = S3Users(
        settings.s3_host,
        access_key=root[0],
        secret_key=root[1],
        secure=settings.s3_secure,
        timeout_s=settings.s3_timeout_s,
    )
    own = users.available()
    if not own:
        log.warning("the store cannot create users: gateway, worker and trainer share the set-up's key")
    for service in SERVICES:
        key = _own_key(service, folder / service) if own else root
        if own:
            users.put(*key, policy(service, settings.s3_bucket))
        write_key(folder / service, *key)
    if own:
        log.info("gateway, worker and trainer have separate keys")


def _own_key(service: str, folder: Path) -> tuple[str, str]:
    """A service's access key with its present secret, or with a new one of 192 random bits."""
    name, present = f"metseg-{service}", read_key(folder)
    return present if present is not None and present[0] == name else (name, secrets.token_urlsafe(24))


def read_key(folder: Path) -> tuple[str, str] | None:
    """The access key and secret key in a folder; None if it has none."""
    try:
        access_key, secret_key = (folder / ACCESS).read_text("utf-8"), (folder / SECRET).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (access_key, secret_key) if access_key and secret_key else None


def write_key(folder: Path, access_key: str, secret_key: str) -> None:
    """Write a key into two files, the access key last, since it implies that the secret exists.

    Args:
        folder: created if missing; the files can be read by its owner alone.
        access_key: of the key.
        secret_key: of the key.

    Raises:
        StoreUnavailable: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((SECRET, secret_key), (ACCESS, access_key)):
            draft = folder / f".{name}"
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            draft.write_text(content, encoding="utf-8")
            os.replace(draft, folder / name)
    except OSError as error:
        raise StoreUnavailable(f"{folder} cannot be written; it has to belong to user {os.getuid()}.") from error

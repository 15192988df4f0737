"""A secret of the site in the object store, by which identities become pseudonyms that only this site can make."""

import hmac
import secrets
from functools import cached_property

from metseg.errors import NotFound
from metseg.storage import ObjectStore

__all__ = ["SiteSecret"]

_DIGITS = 20


class SiteSecret:
    """A secret, made when it is first needed.

    Args:
        objects: the object store.
        key: of the secret in the store.
    """

    def __init__(self, objects: ObjectStore, key: str) -> None:
        self._objects = objects
        self._key = key

    def pseudonym(self, text: str) -> str:
        """The HMAC-SHA256 of a text (RFC 2104), shortened to 80 bits; it cannot be found by trying names.

        Args:
            text: an identity.

        Returns:
            20 hexadecimal digits, the same for the same text and site.

        Raises:
            StoreUnavailable: the secret cannot be read.
        """
        return hmac.digest(self._secret, text.encode(), "sha256").hex()[:_DIGITS]

    def exists(self) -> bool:
        """Whether a pseudonym has ever been made."""
        try:
            self._objects.stat(self._key)
        except NotFound:
            return False
        return True

    @cached_property
    def _secret(self) -> bytes:
        self._objects.create(self._key, secrets.token_bytes(32))
        return self._objects.get(self._key)

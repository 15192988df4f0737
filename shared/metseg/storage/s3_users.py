"""Users of an S3 server that has the MinIO admin API, each with a separate policy."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin

from metseg.errors import StoreUnavailable

__all__ = ["S3Users"]


class S3Users:
    """The users of one server, managed by its root user.

    Args:
        endpoint: host:port.
        access_key: of the root user.
        secret_key: of the root user.
        secure: whether to use HTTPS.
        timeout_s: for each response, seconds.
    """

    def __init__(
        self, endpoint: str, *, access_key: str, secret_key: str, secure: bool = False, timeout_s: float = 5.0
    ) -> None:
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s), retries=urllib3.Retry(total=2, read=1)
        )
        self._admin: Any = MinioAdmin(
            endpoint=endpoint, credentials=StaticProvider(access_key, secret_key), secure=secure, http_client=pool
        )

    def available(self) -> bool:
        """Whether the server has the admin API, found out by a request that changes nothing on any S3.

        Raises:
            StoreUnavailable: it does not answer.
        """
        try:
            with _connection_errors():
                self._admin.policy_list()
        except MinioAdminException:
            return False
        return True

    def put(self, name: str, secret_key: str, policy: Mapping[str, Any]) -> None:
        """Create a user or renew its secret, with a policy of the same name as its only permissions.

        Args:
            name: the access key.
            secret_key: 8 to 40 characters.
            policy: an IAM policy document.

        Raises:
            StoreUnavailable: the server does not answer, or refuses.
        """
        try:
            with _connection_errors():
                self._admin.user_add(name, secret_key)
                self._admin.policy_add(name, policy=dict(policy))
                self._admin.policy_set(name, user=name)
        except MinioAdminException as error:
            raise StoreUnavailable(f"The object store refused to create the user {name}.") from error


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable("The object store does not answer; try again later.") from error

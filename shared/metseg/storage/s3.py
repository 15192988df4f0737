"""Objects in a bucket of any S3 server; the only file that knows the S3 client."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from http import HTTPStatus
from itertools import islice, takewhile
from typing import BinaryIO, cast

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from typing_extensions import override

from metseg.errors import NotFound, StoreUnavailable
from metseg.storage.base import (
    CHUNK_BYTES,
    KEY_DAYS,
    MARKER,
    MAX_REMOVED,
    ObjectInfo,
    ObjectStore,
    SizedStream,
    check_key,
    check_prefix,
)

PART_BYTES = 8 * 2**20  # of a multipart upload; some three of them are in memory at a time

BACKSTOP_DAYS = 30
"""How much later than `Maintenance.expire` the bucket's rule deletes jobs: the rule trusts the server's clock."""


class S3Store(ObjectStore):
    """Objects in one bucket of any S3 server."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        *,
        access_key: str,
        secret_key: str,
        secure: bool = False,
        timeout_s: float = 5.0,
    ) -> None:
        def pool(retries: urllib3.Retry, maxsize: int) -> urllib3.PoolManager:
            timeout = urllib3.Timeout(connect=timeout_s, read=timeout_s)
            return urllib3.PoolManager(timeout=timeout, retries=retries, maxsize=maxsize)

        def client(http: urllib3.PoolManager) -> Minio:
            return Minio(endpoint, access_key, secret_key, secure=secure, http_client=http)

        retries = urllib3.Retry(
            total=2,
            read=1,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            respect_retry_after_header=False,  # a server may ask for minutes, and callers wait for seconds
        )
        self._bucket = bucket
        self._http = pool(retries, maxsize=32)
        self._client = client(self._http)
        self._client_without_retries = client(pool(urllib3.Retry(0), maxsize=1))

    @override
    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        size: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        """See ObjectStore."""
        check_key(key)
        stream = cast(BinaryIO, SizedStream(data, size))
        with _s3_errors(key):
            self._client.put_object(
                self._bucket, key, stream, -1, content_type, part_size=PART_BYTES, num_parallel_uploads=1
            )

    @override
    def create(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> bool:
        """See ObjectStore.

        The client has no call for this: it is a PUT with `If-None-Match: *`, which S3 has had since 2024, to a URL that
        the client signs.
        """
        check_key(key)
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        with _s3_errors(key):
            url = self._client.get_presigned_url("PUT", self._bucket, key)
            status = self._http.request("PUT", url, body=data, headers=headers).status
        if status == HTTPStatus.PRECONDITION_FAILED:
            with contextlib.suppress(NotFound):
                return self.get(key) == data  # ours, if a first attempt succeeded and its response was lost
            return False
        if status != HTTPStatus.OK:
            raise StoreUnavailable("The object store refused the request.")
        return True

    @override
    def get(self, key: str, first: int = 0, size: int | None = None) -> bytes:
        """See ObjectStore."""
        with self.stream(key, first, size) as chunks:
            return b"".join(chunks)

    @override
    @contextlib.contextmanager
    def stream(self, key: str, first: int = 0, size: int | None = None) -> Iterator[Iterator[bytes]]:
        """See ObjectStore."""
        check_key(key)
        with _s3_errors(key):
            try:
                response = self._client.get_object(self._bucket, key, offset=first, length=size or 0)
            except S3Error as error:
                if error.code != "InvalidRange":  # the object ends before the part
                    raise
                response = None
        if response is None:
            yield iter(())
            return
        try:
            yield self._chunks(key, response)
        finally:
            response.close()
            response.release_conn()

    @staticmethod
    def _chunks(key: str, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        with _s3_errors(key):
            yield from response.stream(CHUNK_BYTES)

    @override
    def stat(self, key: str) -> ObjectInfo:
        """The metadata of the object; NotFound."""
        check_key(key)
        with _s3_errors(key):
            return _info(self._client.stat_object(self._bucket, key))

    @override
    def list(self, prefix: str, *, before: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        check_prefix(prefix)
        with _s3_errors(prefix):
            listed = map(_info, self._client.list_objects(self._bucket, prefix, recursive=True))
            found = list(islice(takewhile(lambda info: before is None or info.key < before, listed), limit))
        yield from sorted(found)  # some servers list folder by folder

    @override
    def folders(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """See ObjectStore."""
        check_prefix(prefix)
        start = f"{prefix}{after}" if after else None
        with _s3_errors(prefix):
            for each in self._client.list_objects(self._bucket, prefix, start_after=start):
                if each.is_dir:
                    yield cast(str, each.object_name).removeprefix(prefix).removesuffix("/")

    @override
    def delete(self, prefix: str) -> None:
        """Delete the object and all objects below it."""
        check_key(prefix)
        self.remove([prefix, *(info.key for info in self.list(f"{prefix}/"))])

    @override
    def remove(self, keys: Sequence[str]) -> None:
        """See ObjectStore."""
        for first in range(0, len(keys), MAX_REMOVED):
            batch = [DeleteObject(key) for key in keys[first : first + MAX_REMOVED]]
            with _s3_errors(keys[first]):
                failures = list(self._client.remove_objects(self._bucket, batch))
            if failures:
                raise StoreUnavailable("The object store could not delete everything.")

    @override
    def check(self) -> None:
        """Check that the bucket can be reached and was prepared, without retries."""
        try:
            with _s3_errors(MARKER):
                self._client_without_retries.stat_object(self._bucket, MARKER)
        except NotFound as error:
            raise StoreUnavailable("The bucket does not exist or is another; has the set-up run?") from error

    @override
    def free_bytes(self) -> None:
        """None: S3 does not report it; a server that is full refuses writes."""

    @override
    def reserve(self, size: int) -> contextlib.AbstractContextManager[None]:
        """Nothing, as for `free_bytes`."""
        return contextlib.nullcontext()

    @override
    def prepare(self, job_days: int) -> None:
        """Create the bucket and its lifecycle rules."""
        late = job_days + BACKSTOP_DAYS
        rules = [_expire("jobs", late), _expire("open", late), _expire("keys", KEY_DAYS)]
        with _s3_errors(""):
            if not self._client.bucket_exists(self._bucket):
                self._make_bucket()
            self._client.set_bucket_lifecycle(self._bucket, LifecycleConfig(rules))
        self.put(MARKER, b"{}", content_type="application/json")

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise


def _expire(top: str, days: int) -> Rule:
    expiration = Expiration(days=days)
    return Rule(ENABLED, rule_filter=Filter(prefix=f"{top}/"), rule_id=f"expire-{top}", expiration=expiration)


@contextlib.contextmanager
def _s3_errors(key: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in {"NoSuchKey", "NoSuchObject"}:
            raise NotFound(f"There is no object {key}.") from error
        raise StoreUnavailable("The object store refused the request.") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable("The object store does not answer; try again later.") from error


def _info(found: Object) -> ObjectInfo:
    return ObjectInfo(
        key=cast(str, found.object_name),
        size=cast(int, found.size),
        etag=cast(str, found.etag),
        modified=cast(datetime, found.last_modified),
    )

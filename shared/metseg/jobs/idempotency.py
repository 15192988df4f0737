"""Idempotency keys: a submission that is sent again does not become a second job.

A key lies in the store as `keys/HASH`, where it is found without a search. So it is valid for its day whatever happens
to Redis and to the gateway. The first submission that creates it has it (`ObjectStore.create`).
"""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from metseg.contracts import Contract
from metseg.errors import Conflict, IdempotencyConflict, NotFound, UnreadableRecord
from metseg.jobs.redis_connection import RedisConnection
from metseg.jobs.store import parse_record
from metseg.storage import KEY_DAYS, ObjectStore

__all__ = ["IdempotencyKeys", "hash_key"]

DAY_S = 86400.0
DIGITS = 16
"""Of the first digit of a hashed key."""
MAX_WAIT_S = 5.0
POLL_EVERY_S = 0.05
CRASHED_S = 60.0
"""A submission that took its key this long ago and still is no job will never be one: its gateway died."""


class _KeyRecord(Contract):
    body_sha256: str
    job_id: str
    since: float


def hash_key(key: str) -> str:
    """The name of a key in the store: as the client wrote it, it might identify a patient."""
    return hashlib.sha256(key.encode()).hexdigest()


class IdempotencyKeys:
    """Which job holds which key, for a day.

    Args:
        store: where the keys are.
        redis: for the lock under which a key of a dead gateway is removed.
        exists: whether a job has been accepted.
    """

    def __init__(self, store: ObjectStore, redis: RedisConnection, exists: Callable[[str], bool]) -> None:
        self._store = store
        self._redis = redis
        self._exists = exists

    def acquire(self, key_sha256: str, body_sha256: str, job_id: str) -> str:
        """Let a job hold a key, unless another job holds it.

        Args:
            key_sha256: the hashed key.
            body_sha256: of the submission that came with it.
            job_id: of the job that the submission is to become.

        Returns:
            The id of the job that holds the key: this one, or one that was submitted before with the same body.

        Raises:
            IdempotencyConflict: the job that holds it had another body.
            Conflict: the submission that holds it is not accepted yet.
            Unavailable: the store or Redis does not answer.
        """
        deadline = time.monotonic() + MAX_WAIT_S
        while True:
            ours = _KeyRecord(body_sha256=body_sha256, job_id=job_id, since=time.time())
            content = ours.model_dump_json().encode()
            if self._store.create(_object_key(key_sha256), content, content_type="application/json"):
                return job_id
            record = self._read(key_sha256)
            if record is not None:
                if holder := self._accepted(record, body_sha256):
                    return holder
                if time.time() - record.since > CRASHED_S:
                    self._remove(key_sha256, record)
            if time.monotonic() > deadline:
                raise Conflict("The first submission with this Idempotency-Key is still being accepted.")
            time.sleep(POLL_EVERY_S)

    def holder(self, key_sha256: str, body_sha256: str | None = None) -> str | None:
        """The accepted job that holds a key; None where none does.

        Args:
            key_sha256: the hashed key.
            body_sha256: of the submission that came with it; None where it has not been received.

        Returns:
            The job's id.

        Raises:
            IdempotencyConflict: that job had another body.
            StoreUnavailable: the store does not answer.
        """
        record = self._read(key_sha256)
        return None if record is None else self._accepted(record, body_sha256)

    def release(self, key_sha256: str, job_id: str) -> None:
        """Delete a key if this job holds it.

        Args:
            key_sha256: the hashed key.
            job_id: of the job.
        """
        record = self._read(key_sha256)
        if record is not None and record.job_id == job_id:
            self._store.delete(_object_key(key_sha256))

    def expire(self, now: datetime) -> None:
        """Delete keys that are no longer valid at this time of the store: each hour those with one first digit."""
        oldest = now - timedelta(days=KEY_DAYS)
        listed = self._store.list(f"keys/{now.hour % DIGITS:x}")
        self._store.remove([info.key for info in listed if info.modified < oldest])

    def _read(self, key_sha256: str) -> _KeyRecord | None:
        """Which job holds a key; None where none does. An unreadable record is one that has expired."""
        try:
            return parse_record(_KeyRecord, self._store.get(_object_key(key_sha256)))
        except NotFound:
            return None
        except UnreadableRecord:
            return _KeyRecord(body_sha256="", job_id="", since=0)

    def _accepted(self, record: _KeyRecord, body_sha256: str | None) -> str | None:
        """The job of a record, if it was accepted and the record is valid."""
        if time.time() - record.since >= DAY_S or not self._exists(record.job_id):
            return None
        if body_sha256 not in (None, record.body_sha256):
            raise IdempotencyConflict("The Idempotency-Key was used before with another body.")
        return record.job_id

    def _remove(self, key_sha256: str, record: _KeyRecord) -> None:
        """Delete a key that has not changed meanwhile; of many processes that try, one does."""
        with self._redis.lock(f"key:{key_sha256}", ttl_s=10) as acquired:
            if acquired and self._read(key_sha256) == record:
                self._store.delete(_object_key(key_sha256))


def _object_key(key_sha256: str) -> str:
    return f"keys/{key_sha256}"

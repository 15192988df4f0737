"""Idempotency keys: a submission that is sent again becomes no second job.

A key lies in the store as `keys/HASH`, found without a search, so that it holds for its day whatever becomes of
Redis and of the gateway. The first that creates it has it (`ObjectStore.create`).
"""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from metseg.contracts import Contract
from metseg.errors import Conflict, IdempotencyConflict, NotFound
from metseg.jobs.index import Live
from metseg.storage import KEY_DAYS, ObjectStore

__all__ = ["Keys", "hashed"]

DAY_S = 86400.0
PATIENCE_S = 5.0
PAUSE_S = 0.05
CRASHED_S = 60.0
"""A submission that took its key this long ago and still is no job will never be one: its gateway died."""


class _Holding(Contract):
    body_sha256: str
    job_id: str
    since: float


def hashed(key: str) -> str:
    """The name of a key in the store: what a client wrote there may tell of a patient."""
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """Which job holds which key, for a day.

    Args:
        store: where it is written down.
        live: lets one at a time take over what another left.
        exists: whether a job has been accepted.
    """

    def __init__(self, store: ObjectStore, live: Live, exists: Callable[[str], bool]) -> None:
        self._store = store
        self._live = live
        self._exists = exists

    def holder(self, name: str, body_sha256: str, job_id: str) -> str:
        """The job that holds a hashed key: the one before that sent the same body, or this one."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            mine = _Holding(body_sha256=body_sha256, job_id=job_id, since=time.time())
            if self._store.create(_place(name), mine.model_dump_json().encode(), content_type="application/json"):
                return job_id
            held = self._held(name)
            if held is not None:
                age_s = time.time() - held.since
                if age_s < DAY_S and self._exists(held.job_id):
                    if held.body_sha256 != body_sha256:
                        raise IdempotencyConflict("The Idempotency-Key was used before with another body.")
                    return held.job_id
                if age_s > CRASHED_S:
                    self._drop(name, held)
                    continue
            if time.monotonic() > deadline:
                raise Conflict("The first submission with this Idempotency-Key is still being taken in.")
            time.sleep(PAUSE_S)

    def free(self, name: str, job_id: str) -> None:
        """Let a key go if this job holds it."""
        held = self._held(name)
        if held is not None and held.job_id == job_id:
            self._store.delete(_place(name))

    def expire(self) -> None:
        """Remove keys that hold no more."""
        latest = datetime.now(UTC) - timedelta(days=KEY_DAYS)
        for info in list(self._store.list("keys/")):
            if info.modified < latest:
                self._store.delete(info.key)

    def _held(self, name: str) -> _Holding | None:
        try:
            return _Holding.model_validate_json(self._store.get(_place(name)))
        except NotFound:
            return None

    def _drop(self, name: str, held: _Holding) -> None:
        """Remove what has not changed meanwhile; of many that would, one does."""
        with self._live.alone(f"key:{name}", ttl_s=10) as mine:
            if mine and self._held(name) == held:
                self._store.delete(_place(name))


def _place(name: str) -> str:
    return f"keys/{name}"

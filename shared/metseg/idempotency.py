"""Idempotency keys: a submission that is sent again becomes no second job."""

import hashlib
import time
from collections.abc import Callable

from pydantic import BaseModel

from metseg.errors import Conflict, IdempotencyConflict
from metseg.live import Live

__all__ = ["Keys"]

PATIENCE_S = 5.0
PAUSE_S = 0.05
CRASHED_S = 60.0
"""A submission that took its key this long ago and still is no job will never be one: its gateway died."""


class _Holding(BaseModel):
    body_sha256: str
    job_id: str
    since: float


class Keys:
    """Which job holds which key, for a day.

    Args:
        live: where it is remembered.
        exists: whether a job has been accepted.
    """

    def __init__(self, live: Live, exists: Callable[[str], bool]) -> None:
        self._live = live
        self._exists = exists

    def holder(self, key: str, body_sha256: str, job_id: str) -> str:
        """The job that holds `key`: the one before that sent the same body, or this one."""
        name = hashlib.sha256(key.encode()).hexdigest()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            mine = _Holding(body_sha256=body_sha256, job_id=job_id, since=time.time()).model_dump_json()
            raw = self._live.remember(name, mine, job_id)
            if raw is None:
                return job_id
            held = _Holding.model_validate_json(raw)
            if self._exists(held.job_id):
                if held.body_sha256 != body_sha256:
                    raise IdempotencyConflict("The Idempotency-Key was used before with another body.")
                return held.job_id
            if time.time() - held.since > CRASHED_S and self._live.replace(name, raw, mine, job_id):
                return job_id
            if time.monotonic() > deadline:
                raise Conflict("The first submission with this Idempotency-Key is still being taken in.")
            time.sleep(PAUSE_S)

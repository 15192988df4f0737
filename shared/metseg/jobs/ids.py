"""Job ids. An id carries the tag of its owner, so that nothing has to be read to know who may see a job.

An id has 32 hexadecimal digits: 12 of the time of creation in milliseconds, the version digit (7 of a job, 8 of a
follow-up, so that nothing has to be read to know which it is), 8 of the owner's tag
and 11 random ones.
"""

import hashlib
import secrets
import time

from metseg.contracts import FOLLOW_UP_DIGIT

__all__ = ["ANONYMOUS", "created_ms", "earliest_id", "new_follow_up_id", "new_job_id", "owner_of", "owner_tag"]

ANONYMOUS = "0" * 8
"""The owner's tag of jobs that were submitted while the gateway was open to all."""
_TIME_DIGITS = 12


def owner_tag(name: str) -> str:
    """The tag of the owner with this name, which does not reveal the name."""
    return hashlib.sha256(name.encode()).hexdigest()[: len(ANONYMOUS)]


def new_job_id(owner: str = ANONYMOUS) -> str:
    """A new id for a job of this owner's tag; ids sort by time of creation, as UUIDs of version 7 do."""
    return _new_id("7", owner)


def new_follow_up_id(owner: str = ANONYMOUS) -> str:
    """A new id for a follow-up of this owner's tag."""
    return _new_id(FOLLOW_UP_DIGIT, owner)


def _new_id(version: str, owner: str) -> str:
    return f"{earliest_id(time.time_ns() // 1_000_000)}{version}{owner}{secrets.token_hex(6)[:11]}"


def owner_of(job_id: str) -> str:
    """The tag of a job's owner."""
    return job_id[13:21]


def created_ms(job_id: str) -> int:
    """When an id was made, milliseconds since 1970 by the clock of the gateway that made it."""
    return int(job_id[:_TIME_DIGITS], 16)


def earliest_id(time_ms: float) -> str:
    """What sorts before all ids made at this time (milliseconds since 1970) or later, and after all others."""
    return f"{max(int(time_ms), 0):0{_TIME_DIGITS}x}"

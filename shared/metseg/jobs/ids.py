"""Whose a job is: its id tells it, so that nothing has to be read to know who may see a job.

An id is the time of its making in milliseconds (12 hexadecimal digits), the version digit 7, its owner's tag (8) and
what nobody can guess (11).
"""

import hashlib
import secrets
import time

__all__ = ["NOBODY", "is_id", "new_id", "owner", "tag"]

NOBODY = "0" * 8
"""The tag of what was made while the gateway was open to all."""


def tag(name: str) -> str:
    """The tag of whoever has this name; it tells the name to nobody who does not know it."""
    return hashlib.sha256(name.encode()).hexdigest()[: len(NOBODY)]


def new_id(owner: str = NOBODY) -> str:
    """An id for a job of this tag; ids sort by the time they were made, as UUIDs of version 7 do."""
    return f"{time.time_ns() // 1_000_000:012x}7{owner}{secrets.token_hex(6)[:11]}"


def is_id(text: str) -> bool:
    """Whether a text can be a job's id."""
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def owner(job_id: str) -> str:
    """The tag of the one whom a job is of."""
    return job_id[13:21]

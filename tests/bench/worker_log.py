"""What the log of a worker says about its jobs."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

__all__ = ["Attempt", "attempts", "queued_again"]

LOST = re.compile(r"job (\S+) was lost and is queued again")


class Attempt(NamedTuple):
    """A worker's attempt at a job, by the times of its log; `ended_at` is None where it wrote no end."""

    job_id: str
    begun_at: float
    ended_at: float | None


def attempts(log: str) -> list[Attempt]:
    """The attempts in a worker's log, in the order in which they began."""
    found: list[Attempt] = []
    last_of: dict[str, int] = {}
    for entry in _entries(log):
        job_id, at = entry.get("job", ""), datetime.fromisoformat(entry["time"]).timestamp()
        if entry["message"] == "job begun":
            last_of[job_id] = len(found)
            found.append(Attempt(job_id, at, None))
        elif entry["message"] == "job ended" and job_id in last_of:
            found[last_of[job_id]] = found[last_of[job_id]]._replace(ended_at=at)
    return found


def queued_again(log: str) -> dict[str, float]:
    """When a worker first queued each job again that was lost, by id, from its log."""
    found: dict[str, float] = {}
    for entry in _entries(log):
        if lost := LOST.fullmatch(entry["message"]):
            found.setdefault(lost[1], datetime.fromisoformat(entry["time"]).timestamp())
    return found


def _entries(log: str) -> Iterator[dict[str, str]]:
    """The complete lines of a log that are JSON."""
    for line in log.splitlines():
        with suppress(ValueError):
            yield json.loads(line)

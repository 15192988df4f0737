"""What became of jobs that were accepted: each must have one end, the results of one attempt, and the same mask."""

import gzip
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from metseg.client import Client
from metseg.contracts import Job, JobStatus
from metseg.errors import NotFound
from metseg.storage import ObjectStore

__all__ = ["Checked", "checked", "counts"]

LATE_S = 10.0
"""After the last end: a host given back could still write what it computed before."""
MASK = "mask.nii.gz"


class Checked(NamedTuple):
    """An accepted job after all ends.

    Attributes:
        status: as its client sees it.
        finished_at: the time of its end; None where it has none.
        ends: 1; more if its end changed later or the store has results of several attempts.
        intact: whether each artefact is the one that its end names, and the mask that of every other job.
    """

    status: JobStatus
    finished_at: float | None
    ends: int
    intact: bool


def checked(store: ObjectStore, client: Client, ids: Sequence[str], until: float) -> list[Checked]:
    """Wait for the ends of jobs, and somewhat longer for what must not come; then check what the store has of them.

    Args:
        store: with the jobs.
        client: of the gateway.
        ids: of the jobs.
        until: the time after which no end is waited for.

    Returns:
        The jobs, in their order.
    """
    jobs = [_ended(client, job_id, until) for job_id in ids]
    before = [_end_of(store, job.id) for job in jobs]
    time.sleep(LATE_S)
    masks: set[str] = set()
    found = []
    for job, first_end in zip(jobs, before, strict=True):
        end = _end_of(store, job.id)
        attempts = sum(1 for _ in store.list(f"jobs/{job.id}/results/"))
        finished_at = job.finished_at.timestamp() if job.finished_at else None
        intact = job.status is not JobStatus.SUCCEEDED or _intact(store, job.id, json.loads(end), masks)
        found.append(Checked(job.status, finished_at, max(1, attempts) + (end != first_end), intact))
    return found


def _ended(client: Client, job_id: str, until: float) -> Job:
    """A job at its end, or after the time to wait for it."""
    while not (job := client.job(job_id, wait_s=10)).status.final and time.time() < until:
        pass
    return job


def _end_of(store: ObjectStore, job_id: str) -> bytes:
    """The record of a job's end; empty where there is none."""
    try:
        return store.get(f"jobs/{job_id}/end.json")
    except NotFound:
        return b""


def _intact(store: ObjectStore, job_id: str, end: dict[str, Any], masks: set[str]) -> bool:
    """Whether a job's artefacts have the digests of its end, and its mask is the only one in `masks`."""
    for name, artefact in end["digests"].items():
        content = store.get(f"jobs/{job_id}/{end['results']}", artefact["first"], artefact["size"])
        if hashlib.sha256(content).hexdigest() != artefact["sha256"]:
            return False
        if name == MASK:
            masks.add(hashlib.sha256(gzip.decompress(content)).hexdigest())
    return len(masks) == 1


def counts(jobs: Sequence[Checked]) -> dict[str, int]:
    """Of these jobs: accepted, succeeded, failed, lost, with two results, and damaged."""
    return {
        "accepted": len(jobs),
        "succeeded": sum(job.status is JobStatus.SUCCEEDED for job in jobs),
        "failed": sum(job.status is JobStatus.FAILED for job in jobs),
        "lost": sum(not job.status.final for job in jobs),
        "two results": sum(job.ends > 1 for job in jobs),
        "damaged": sum(not job.intact for job in jobs),
    }

"""The one task of the worker: a job's id comes in, the job's end is written to the store.

Whatever happens, the task itself ends well, so that a message is never delivered for nothing: a job that cannot go
on now is given back, and the upkeep queues it again when store and queue answer.
"""

import errno
import logging
import time
import traceback
from contextlib import suppress
from functools import cache

from celery.exceptions import SoftTimeLimitExceeded

from metseg.broker import CANARY
from metseg.contracts import Problem
from metseg.errors import (
    Cancelled,
    MetsegError,
    ProcessingFailed,
    QueueUnavailable,
    StoreUnavailable,
    Unavailable,
)
from metseg.jobs import TASK
from metseg.process import process
from metseg.settings import settings
from metseg_worker import logs
from metseg_worker.app import celery
from metseg_worker.bench import Bench, open_bench

__all__ = ["segment", "work"]

PROGRESS_EVERY_S = 0.2
"""Nobody sees more; and a cancelled job need not end sooner."""

log = logging.getLogger(__name__)


@celery.task(name=TASK)  # type: ignore[untyped-decorator]
def segment(job_id: str) -> None:
    """Segment a job's study, unless it is done, deleted or in other hands."""
    work(_bench(), job_id)


@celery.task(name=CANARY)  # type: ignore[untyped-decorator]
def canary(node: str) -> None:
    """Answer that this worker's child takes what is sent to it."""
    with suppress(QueueUnavailable):
        _bench().jobs.answer(node)


@cache
def _bench() -> Bench:
    """The bench of this process: a child's, since the main process runs no task."""
    return open_bench(settings())


def work(bench: Bench, job_id: str) -> None:
    """Bring a job to its end, or give it back if what it needs is away."""
    with logs.one_job():
        _work(bench, job_id)


def _work(bench: Bench, job_id: str) -> None:
    try:
        _attempt(bench, job_id)
    except Cancelled:
        log.info("job cancelled", extra={"job": job_id})
    except (StoreUnavailable, QueueUnavailable) as error:
        log.warning("job given back", extra={"job": job_id, "reason": error.detail})
        bench.jobs.give_back(job_id)
    except MetsegError as error:
        _fail(bench, job_id, error)
    except SoftTimeLimitExceeded:
        _fail(bench, job_id, ProcessingFailed("The job took longer than a study of its size may; submit fewer slices."))
    except Exception as error:  # noqa: BLE001 (the worker outlives whatever a study does to it)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            log.error("job given back, the spool is full", extra={"job": job_id})
            bench.jobs.give_back(job_id)
            return
        where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        log.error("job met a bug", extra={"job": job_id, "error": type(error).__name__, "where": where})
        _fail(bench, job_id, ProcessingFailed(f"The worker met an error of its own; quote job {job_id} to report it."))


def _attempt(bench: Bench, job_id: str) -> None:
    request = bench.jobs.claim(job_id)
    if request is None:
        log.info("nothing to do", extra={"job": job_id})
        return
    logs.follow(request.request_id)
    log.info("job begun", extra={"job": job_id, "files": len(request.inputs)})

    told_s = float("-inf")

    def progress(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= PROGRESS_EVERY_S:
            bench.jobs.advance(job_id, done, total)
            told_s = time.monotonic()

    def keep_glimpse(picture: bytes) -> None:
        bench.jobs.show_glimpse(job_id, picture)

    result, artefacts = process(
        request, bench.store, bench.models, bench.settings.limits, progress, keep_glimpse=keep_glimpse
    )
    bench.jobs.finish(job_id, result, artefacts)
    extra = {"job": job_id, "model": result.model_version, "slices": result.shape[0], "seconds": result.durations_s}
    log.info("job ended", extra=extra)


def _fail(bench: Bench, job_id: str, error: MetsegError) -> None:
    """Write down why a job failed; where even that cannot be done, it is tried again."""
    log.info("job failed", extra={"job": job_id, "problem": error.type, "reason": error.detail})
    with suppress(Unavailable):
        bench.jobs.fail(job_id, Problem.of(error))

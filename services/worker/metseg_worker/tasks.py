"""The one task of the worker: a job's id comes in, the job's end is written to the store.

Whatever happens, the task itself ends well, so that a message is never delivered for nothing: a job that cannot go
on now is given back, and the upkeep queues it again when store and queue answer. The message is done with once the
study is segmented; the end is written beside the next job. Should the process die in between, the job's claim expires,
and the upkeep finds it open.
"""

import errno
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_shutdown

from metseg import logs
from metseg.contracts import Problem, Request, Result
from metseg.errors import (
    Cancelled,
    MetsegError,
    ProcessingFailed,
    QueueUnavailable,
    StoreUnavailable,
    Unavailable,
)
from metseg.jobs import CANARY, TASK, Supplies, process
from metseg.settings import settings
from metseg_worker.app import celery
from metseg_worker.context import Bench, open_bench
from metseg_worker.result_writer import Endings

__all__ = ["segment", "work"]

PROGRESS_EVERY_S = 0.2
"""Nobody sees more; and a cancelled job need not end sooner."""

log = logging.getLogger(__name__)


@celery.task(name=TASK)  # type: ignore[untyped-decorator]
def segment(job_id: str) -> None:
    """Segment a job's study, unless it is done, deleted or in other hands."""
    work(_bench(), job_id, _endings().hand_over)


@celery.task(name=CANARY)  # type: ignore[untyped-decorator]
def canary(node: str) -> None:
    """Answer that this worker's child takes what is sent to it."""
    with suppress(QueueUnavailable):
        _bench().jobs.answer(node)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _leave(**_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    if not _endings().settle():
        log.warning("the worker leaves a job whose end it could not write")


@cache
def _bench() -> Bench:
    """The bench of this process: a child's, since the main process runs no task."""
    return open_bench(settings())


@cache
def _endings() -> Endings:
    """Likewise a child's."""
    return Endings()


def _at_once(end: Callable[[], None]) -> None:
    end()


def work(bench: Bench, job_id: str, hand_over: Callable[[Callable[[], None]], None] = _at_once) -> None:
    """Bring a job to its end, or give it back if what it needs is away.

    Args:
        bench: to work with.
        job_id: of the job.
        hand_over: sees to it that the end of a job that was segmented is written.
    """
    with logs.job_context(), _answered_for(bench, job_id):
        segmented = _attempt(bench, job_id)
        if segmented is not None:
            hand_over(partial(_finish, bench, job_id, *segmented))


def _finish(bench: Bench, job_id: str, result: Result, artefacts: Mapping[str, bytes]) -> None:
    with _answered_for(bench, job_id):
        bench.jobs.finish(job_id, result, artefacts)
        figures = {"model": result.model_version, "slices": result.shape[0], "seconds": result.durations_s}
        log.info("job ended", extra={"job": job_id, **figures})


@contextmanager
def _answered_for(bench: Bench, job_id: str) -> Iterator[None]:
    """Whatever fails inside the block becomes the job's end, or a reason to give it back."""
    try:
        yield
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


def _attempt(bench: Bench, job_id: str) -> tuple[Result, Mapping[str, bytes]] | None:
    """What a job's study was found to hold; None where there is nothing to do."""
    with Supplies(bench.store, bench.models) as supplies:
        request = bench.jobs.claim(job_id, supplies.fetch)
        if request is None:
            log.info("nothing to do", extra={"job": job_id})
            return None
        logs.bind_request_id(request.request_id)
        log.info("job begun", extra={"job": job_id, "files": len(request.inputs)})
        return _segmented(bench, request, supplies)


def _segmented(bench: Bench, request: Request, supplies: Supplies) -> tuple[Result, Mapping[str, bytes]]:
    """What was found, while whoever asked is told how far it is."""
    told_s = float("-inf")

    def progress(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= PROGRESS_EVERY_S:
            bench.jobs.advance(request.id, done, total)
            told_s = time.monotonic()

    def keep_glimpse(picture: bytes) -> None:
        bench.jobs.show_glimpse(request.id, picture)

    return process(request, supplies, bench.settings.limits, progress, keep_glimpse=keep_glimpse)


def _fail(bench: Bench, job_id: str, error: MetsegError) -> None:
    """Write down why a job failed; where even that cannot be done, it is tried again."""
    log.info("job failed", extra={"job": job_id, "problem": error.type, "reason": error.detail})
    with suppress(Unavailable):
        bench.jobs.fail(job_id, Problem.of(error))

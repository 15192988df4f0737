"""The tasks of the worker. The id of a job or follow-up comes in, and its end is written to the store.

The segmentation task always succeeds for Celery, so that no message is delivered again without need: a job that cannot
continue now is given back, and maintenance queues it again once store and queue are available. The message is
acknowledged when the study is segmented; the job's end is written while the next job runs. If the process dies in
between, the lease of the job expires, and maintenance finds it open.
"""

import errno
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_shutdown

from metseg import logs
from metseg.contracts import FollowUpResult, Problem, Request, Result
from metseg.errors import (
    Cancelled,
    MetsegError,
    ProcessingFailed,
    QueueUnavailable,
    StoreUnavailable,
    Unavailable,
)
from metseg.jobs import PROBE_TASK, SEGMENT_TASK, JobInputs, max_work_s, process, process_follow_up
from metseg.parallel import cpu_quota
from metseg.settings import settings
from metseg_worker.app import celery
from metseg_worker.context import WorkerContext, open_context
from metseg_worker.result_writer import ResultWriter

__all__ = ["run_job", "segment"]

PROGRESS_EVERY_S = 0.2
"""Clients see no more than that, and a cancelled job need not stop sooner."""

Finished = Result | FollowUpResult

log = logging.getLogger(__name__)


@celery.task(name=SEGMENT_TASK)  # type: ignore[untyped-decorator]
def segment(job_id: str) -> None:
    """Segment a job's study, unless it is final, deleted or leased by another worker."""
    run_job(_context(), job_id, _result_writer().submit)


@celery.task(name=PROBE_TASK)  # type: ignore[untyped-decorator]
def acknowledge_probe(node: str) -> None:
    """Record that this worker's child runs what is sent to it."""
    with suppress(QueueUnavailable):
        _context().workers.acknowledge_probe(node)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _flush_results(**_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    if not _result_writer().flush():
        log.warning("the worker exits before the end of its last job is written")


@cache
def _context() -> WorkerContext:
    """The context of this process, which is a child: the main process runs no task."""
    return open_context(settings())


@cache
def _result_writer() -> ResultWriter:
    """The writer of this process."""
    return ResultWriter()


def _write_now(write: Callable[[], None]) -> None:
    write()


def run_job(
    context: WorkerContext, job_id: str, submit_write: Callable[[Callable[[], None]], None] = _write_now
) -> None:
    """Run a job to its end, or give it back if something that it needs is unavailable.

    Args:
        context: of this process.
        job_id: of the job.
        submit_write: called with a function that writes the end of a job that was segmented.
    """
    with logs.job_context(), _handle_errors(context, job_id):
        segmented = _run(context, job_id)
        if segmented is not None:
            submit_write(partial(_finish, context, job_id, *segmented))


def _finish(context: WorkerContext, job_id: str, result: Finished, artefacts: Mapping[str, bytes]) -> None:
    with _handle_errors(context, job_id):
        context.runner.finish(job_id, result, artefacts)
        figures: dict[str, Any] = {"seconds": result.durations_s}
        if isinstance(result, Result):
            figures |= {"model": result.model_version, "slices": result.shape[0]}
        log.info("job ended", extra={"job": job_id, **figures})


@contextmanager
def _handle_errors(context: WorkerContext, job_id: str) -> Iterator[None]:
    """Turn whatever fails within the block into the job's end, or into giving it back; nothing leaves the block."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (no study may end the worker)
        try:
            _handle(context, job_id, error)
        except Exception as failure:  # noqa: BLE001 (nor may what fails then reach the next job)
            log.error("a job's end could not be recorded", extra={"job": job_id, "error": type(failure).__name__})
            context.runner.release(job_id)


def _handle(context: WorkerContext, job_id: str, error: Exception) -> None:
    """Record why a job failed, or give it back."""
    try:
        raise error
    except Cancelled:
        log.info("job cancelled", extra={"job": job_id})
    except (StoreUnavailable, QueueUnavailable) as unavailable:
        log.warning("job given back", extra={"job": job_id, "reason": unavailable.detail})
        context.runner.give_back(job_id)
    except MetsegError as problem:
        _fail(context, job_id, problem)
    except SoftTimeLimitExceeded:
        detail = "The job took longer than a study of its size may; submit fewer slices."
        _fail(context, job_id, ProcessingFailed(detail))
    except Exception:  # noqa: BLE001 (a bug)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            log.error("job given back, the disk for temporary files is full", extra={"job": job_id})
            context.runner.give_back(job_id)
            return
        where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        log.error("job met a bug", extra={"job": job_id, "error": type(error).__name__, "where": where})
        _fail(context, job_id, ProcessingFailed(f"The worker met an internal error; quote job {job_id} to report it."))


def _run(context: WorkerContext, job_id: str) -> tuple[Finished, Mapping[str, bytes]] | None:
    """A job's result and artefacts; None where there is nothing to do."""
    request = context.runner.lease(job_id)
    if request is None:
        log.info("nothing to do", extra={"job": job_id})
        return None
    with JobInputs.fetch(request, context.store, context.models) as inputs:
        if not context.runner.start(job_id):
            log.info("nothing to do", extra={"job": job_id})
            return None
        logs.bind_request_id(request.request_id)
        log.info("job begun", extra={"job": job_id, "files": len(request.inputs)})
        with _exit_after(max_work_s(request, context.settings)):
            return _compare(context, request) if request.studies else _segment(context, request, inputs)


@contextmanager
def _exit_after(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer: native code that hangs heeds no exception.

    Celery would do so much later, since its limits include the wait for the end of the job before.
    """
    timer = threading.Timer(seconds, os._exit, [os.EX_TEMPFAIL])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _segment(context: WorkerContext, request: Request, inputs: JobInputs) -> tuple[Result, Mapping[str, bytes]]:
    """Segment a study, and report progress and previews meanwhile."""
    on_preview = partial(context.runner.put_preview, request.id)
    on_progress = _progress_reporter(context, request.id)
    return process(request, inputs, context.settings.limits, on_progress, on_preview=on_preview)


def _compare(context: WorkerContext, request: Request) -> tuple[FollowUpResult, Mapping[str, bytes]]:
    """Compare the studies of a follow-up."""
    threads = context.settings.threads or cpu_quota()
    return process_follow_up(request, context.store, threads, _progress_reporter(context, request.id))


def _progress_reporter(context: WorkerContext, job_id: str) -> Callable[[int, int], None]:
    """Reports a job's progress now and then; Cancelled where the work on it has to stop."""
    reported_at = float("-inf")

    def on_progress(done: int, total: int) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at >= PROGRESS_EVERY_S:
            context.runner.report_progress(job_id, done, total)
            reported_at = time.monotonic()

    return on_progress


def _fail(context: WorkerContext, job_id: str, error: MetsegError) -> None:
    """Record why a job failed; where even that is impossible now, the job is tried again."""
    log.info("job failed", extra={"job": job_id, "problem": error.type, "reason": error.detail})
    with suppress(Unavailable):
        context.runner.fail(job_id, Problem.of(error))

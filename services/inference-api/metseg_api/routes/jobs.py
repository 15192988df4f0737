"""Submissions and their state."""

import time
from functools import partial
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Body, Header, Query, Request, Response, status

from metseg.contracts import Job, JobPage, Repetition
from metseg.errors import (
    ArchiveBomb,
    BadArchive,
    EmptyUpload,
    IdempotencyConflict,
    ImageTooLarge,
    InvalidParameter,
    MetsegError,
    MixedSizes,
    NoChampion,
    NotFound,
    QueueFull,
    QueueUnavailable,
    SeveralPatients,
    StorageFull,
    StoreUnavailable,
    TooManyFiles,
    TooManyRequests,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
    UploadInterrupted,
    UploadTooLarge,
)
from metseg_api import metrics
from metseg_api.admission import admit
from metseg_api.auth import Reader, Submitter
from metseg_api.gateway import Gateway, TheGateway
from metseg_api.multipart import received
from metseg_api.openapi import IDEMPOTENCY, JOB, JOB_ID, UPLOAD, example, problems
from metseg_api.resubmit import again
from metseg_api.routes.paths import JobId
from metseg_api.submissions import accept, check_idempotency_key

LONGEST_WAIT_S = 60
TURN_S = 5.0
REFUSALS = (
    *(UploadInterrupted, IdempotencyConflict, UnsupportedFormat),
    *(UploadTooLarge, TooManyFiles, ImageTooLarge, ArchiveBomb),
    *(EmptyUpload, InvalidParameter, UnreadableImage, UnusableImage, MixedSizes, BadArchive, SeveralPatients),
    *(NoChampion, StoreUnavailable, QueueUnavailable, QueueFull, StorageFull, TooManyRequests),
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    summary="Submit a study",
    status_code=status.HTTP_202_ACCEPTED,
    response_model_exclude_none=True,
    responses={**problems(*REFUSALS), 202: example(JOB, ("Location", "Retry-After"))},
    openapi_extra=UPLOAD,
)
async def submit(
    request: Request,
    response: Response,
    gateway: TheGateway,
    caller: Submitter,
    idempotency_key: Annotated[str | None, Header(description=IDEMPOTENCY, examples=["scan-7-of-trial-2"])] = None,
) -> Job:
    """Submit the slices or volumes of one study; all of them become one job.

    202 says that the files lie in the store and the job is queued: nothing short of losing the store loses it.
    """
    try:
        check_idempotency_key(idempotency_key)
        announced = request.headers.get("Content-Length", "")
        await to_thread.run_sync(admit, gateway, caller, int(announced) if announced.isdecimal() else 0)
        async with received(request, gateway.settings.limits.files) as spool:
            limiter = gateway.threads.uploads
            taking = partial(accept, gateway, spool, caller, idempotency_key, request.scope["state"]["request_id"])
            job = await to_thread.run_sync(taking, limiter=limiter)
    except MetsegError as error:
        metrics.SUBMISSIONS.labels(error.type).inc()
        raise
    metrics.SUBMISSIONS.labels("accepted").inc()
    request.scope["state"]["job"] = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = "1"
    return job


@router.post(
    "/{job_id}/repeat",
    summary="Submit a job's study once more",
    status_code=status.HTTP_202_ACCEPTED,
    response_model_exclude_none=True,
    responses={
        **problems(NotFound, InvalidParameter, NoChampion, QueueFull, StorageFull, TooManyRequests),
        202: example(JOB, ("Location", "Retry-After")),
    },
)
async def repeat(
    request: Request, response: Response, caller: Submitter, job_id: JobId, wish: Annotated[Repetition, Body()]
) -> Job:
    """A new job of the same files, for another model or threshold; nothing has to be sent again."""
    gateway: Gateway = request.app.state.gateway
    await to_thread.run_sync(admit, gateway, caller, 0)
    taking = partial(again, gateway, job_id, wish, caller, request.scope["state"]["request_id"])
    job = await to_thread.run_sync(taking, limiter=gateway.threads.uploads)
    request.scope["state"]["job"] = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = "1"
    return job


@router.get(
    "",
    summary="List jobs",
    response_model_exclude_none=True,
    responses={**problems(InvalidParameter), 200: example({"jobs": [JOB], "next": JOB_ID})},
)
def page(
    gateway: TheGateway,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before")] = None,
) -> JobPage:
    """The caller's jobs, newest first; an admin sees all."""
    return gateway.jobs.page(limit, cursor, caller.sees)


@router.get(
    "/{job_id}",
    summary="Follow a job",
    response_model_exclude_none=True,
    responses={**problems(NotFound, InvalidParameter), 200: example(JOB, ("Retry-After",))},
)
async def job(
    request: Request,
    response: Response,
    gateway: TheGateway,
    _: Reader,
    job_id: JobId,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT_S, description="answer when it ends, or after these seconds")
    ] = 0,
) -> Job:
    """The state of a job; with `wait` the answer comes as soon as the job ends, or with the time."""
    state = await _wait(gateway, request, job_id, wait)
    if not state.status.final:
        response.headers["Retry-After"] = "1"
    return state


@router.delete(
    "/{job_id}",
    summary="Cancel and delete a job",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(NotFound),
)
def delete(gateway: TheGateway, _: Submitter, job_id: JobId) -> None:
    """Cancel a job if it waits or runs; delete its input and its results."""
    gateway.jobs.delete(job_id)


async def _wait(gateway: Gateway, request: Request, job_id: str, wait_s: float) -> Job:
    """Wait in turns of a few seconds, so that waiting clients share the threads and one that left frees its own."""
    deadline = time.monotonic() + wait_s

    def turn() -> Job:
        return gateway.jobs.wait(job_id, min(max(deadline - time.monotonic(), 0), TURN_S))

    state = None if wait_s <= 0 else await to_thread.run_sync(gateway.jobs.get_unless_open, job_id)
    while (state is None or not state.status.final) and (left_s := deadline - time.monotonic()) > 0:
        if await request.is_disconnected():
            break
        with anyio.move_on_after(left_s):  # ends the wait for a thread, not a turn that began
            state = await to_thread.run_sync(turn, limiter=gateway.threads.waits)
    return await to_thread.run_sync(gateway.jobs.get, job_id) if state is None else state

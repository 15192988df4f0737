"""Jobs: submit, poll, list, repeat and delete them."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Header, Query, Request, Response, status

from metseg.contracts import Job, JobPage, Resubmission
from metseg.errors import (
    ArchiveBomb,
    BadArchive,
    EmptyUpload,
    Forbidden,
    IdempotencyConflict,
    ImageTooLarge,
    InvalidParameter,
    MixedSizes,
    NoChampion,
    NotFound,
    QueueFull,
    QueueUnavailable,
    SeveralPatients,
    StorageFull,
    StoreUnavailable,
    StudyTooLarge,
    TooManyFiles,
    TooManyRequests,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
    UploadInterrupted,
    UploadTooLarge,
)
from metseg_api import metrics, submissions
from metseg_api.admission import admit, check_free_disk
from metseg_api.auth import Reader, Submitter
from metseg_api.gateway import CurrentGateway, Gateway
from metseg_api.multipart import MultipartForm, announced_bytes, receive_form
from metseg_api.openapi import IDEMPOTENCY_KEY_DESCRIPTION, JOB, JOB_ID, UPLOAD, example_response, problem_responses
from metseg_api.resubmit import resubmit
from metseg_api.routes.paths import JobId, may_see_job
from metseg_api.submissions import check_idempotency_key
from metseg_api.waiting import Wait, wait_for_end

SUBMISSION_ERRORS = (
    *(UploadInterrupted, IdempotencyConflict, UnsupportedFormat),
    *(UploadTooLarge, TooManyFiles, ImageTooLarge, StudyTooLarge, ArchiveBomb),
    *(EmptyUpload, InvalidParameter, UnreadableImage, UnusableImage, MixedSizes, BadArchive, SeveralPatients),
    *(NoChampion, StoreUnavailable, QueueUnavailable, QueueFull, StorageFull, TooManyRequests),
)
SUMMARY = {"structure": "core", "lesions": 3, "voxels": 5210, "volume_mm3": 5210.0, "reviewed": False}

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    summary="Submit a study",
    status_code=status.HTTP_202_ACCEPTED,
    response_model_exclude_none=True,
    responses={**problem_responses(*SUBMISSION_ERRORS), 202: example_response(JOB, ("Location", "Retry-After"))},
    openapi_extra=UPLOAD,
)
async def submit(
    request: Request,
    response: Response,
    gateway: CurrentGateway,
    caller: Submitter,
    idempotency_key: Annotated[
        str | None, Header(description=IDEMPOTENCY_KEY_DESCRIPTION, examples=["scan-7-of-trial-2"])
    ] = None,
) -> Job:
    """Submit the slices or volumes of one study; all of them become one job.

    202 means that the files are in the store and the job is queued: only losing the store can lose it.
    """
    with metrics.count_submission():
        check_idempotency_key(idempotency_key)
        replay = await to_thread.run_sync(submissions.is_replay, gateway, caller, idempotency_key)
        if not replay:
            await to_thread.run_sync(admit, gateway, caller, announced_bytes(request))
        async with (
            gateway.received.hold(caller.tag),
            _receive(request, gateway, reserve=not replay) as form,
            gateway.stored.hold(caller.tag),
        ):
            request_id = request.scope["state"]["request_id"]
            store = partial(submissions.submit, gateway, form, caller, idempotency_key, request_id, admitted=not replay)
            job = await to_thread.run_sync(store, limiter=gateway.threads.uploads)
    return _accepted(request, response, job)


@router.post(
    "/{job_id}/repeat",
    summary="Submit a job's study again",
    status_code=status.HTTP_202_ACCEPTED,
    response_model_exclude_none=True,
    responses={
        **problem_responses(NotFound, InvalidParameter, NoChampion, QueueFull, StorageFull, TooManyRequests),
        202: example_response(JOB, ("Location", "Retry-After")),
    },
)
async def repeat(
    request: Request, response: Response, caller: Submitter, job_id: JobId, options: Annotated[Resubmission, Body()]
) -> Job:
    """A new job with the same files and another model, threshold or sequence; nothing is uploaded again."""
    gateway: Gateway = request.app.state.gateway
    with metrics.count_submission():
        await to_thread.run_sync(admit, gateway, caller, 0)
        copy = partial(resubmit, gateway, job_id, options, caller, request.scope["state"]["request_id"])
        async with gateway.stored.hold(caller.tag):
            job = await to_thread.run_sync(copy, limiter=gateway.threads.uploads)
    return _accepted(request, response, job)


@router.get(
    "",
    summary="List jobs",
    response_model_exclude_none=True,
    responses={
        **problem_responses(InvalidParameter, Forbidden),
        200: example_response({"jobs": [JOB | {"summary": SUMMARY}], "next": JOB_ID}),
    },
)
def page(
    gateway: CurrentGateway,
    caller: Reader,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before")] = None,
    everyone: Annotated[bool, Query(description="the jobs of all keys, for an admin")] = False,
    id: Annotated[list[str] | None, Query(max_length=100, description="only these jobs, as far as they exist")] = None,
) -> JobPage:
    """The jobs of the caller's key, newest first, each with the summary of its result."""
    if everyone:
        caller.require("admin")
    if id is not None:
        return JobPage(jobs=gateway.jobs.existing(each for each in id if may_see_job(caller, each)))
    return gateway.jobs.page(limit, cursor, None if everyone else caller.own_tag)


@router.get(
    "/{job_id}",
    summary="Poll a job",
    response_model_exclude_none=True,
    responses={**problem_responses(NotFound, InvalidParameter), 200: example_response(JOB, ("Retry-After",))},
)
async def job(
    request: Request,
    response: Response,
    gateway: CurrentGateway,
    _: Reader,
    job_id: JobId,
    wait: Wait = 0,
) -> Job:
    """The state of a job; with `wait`, the response is sent when the job ends or that time is over."""
    return await wait_for_end(gateway, request, response, job_id, wait)


@router.delete(
    "/{job_id}",
    summary="Cancel and delete a job",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses(NotFound),
)
def delete(gateway: CurrentGateway, _: Submitter, job_id: JobId) -> None:
    """Cancel a job if it waits or runs; delete its inputs and results."""
    gateway.jobs.delete(job_id)


@asynccontextmanager
async def _receive(request: Request, gateway: Gateway, *, reserve: bool) -> AsyncIterator[MultipartForm]:
    """Receive a submission; with `reserve`, disk space is taken for it until it is about to be stored."""
    max_files = gateway.settings.limits.files
    if not reserve:
        async with receive_form(request, max_files) as form:
            yield form
        return
    with ExitStack() as reservation:
        reserved = gateway.store.reserve(announced_bytes(request))
        await to_thread.run_sync(reservation.enter_context, reserved)
        async with receive_form(request, max_files, partial(check_free_disk, gateway)) as form:
            reservation.close()
            yield form


def _accepted(request: Request, response: Response, job: Job) -> Job:
    """Complete a 202."""
    request.scope["state"]["job"] = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = "1"
    return job

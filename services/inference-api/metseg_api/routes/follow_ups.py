"""Follow-ups: compare the studies of a patient."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Header, Request, Response, status

from metseg.contracts import FollowUp, FollowUpSubmission
from metseg.errors import (
    IdempotencyConflict,
    InvalidParameter,
    NotAvailable,
    NotComparable,
    NotFinished,
    NotFound,
    QueueFull,
    ReviewedMeanwhile,
    StorageFull,
    TooManyRequests,
)
from metseg.followup import render_follow_up_report, write_follow_up_sr
from metseg_api.auth import Reader, Submitter
from metseg_api.follow_up_files import follow_up_response
from metseg_api.follow_ups import describe_follow_up, submit_follow_up
from metseg_api.gateway import CurrentGateway, Gateway
from metseg_api.openapi import (
    IDEMPOTENCY_KEY_DESCRIPTION,
    JOB_ID,
    example_response,
    file_responses,
    problem_responses,
)
from metseg_api.routes.paths import FOLLOW_UP_ID, FollowUpId
from metseg_api.routes.reports import REPORT_POLICY
from metseg_api.submissions import check_idempotency_key
from metseg_api.waiting import Wait, wait_for_end

HTML, DICOM = "text/html", "application/dicom"
EXAMPLE = {
    "id": FOLLOW_UP_ID,
    "status": "queued",
    "jobs": [JOB_ID, JOB_ID[:-1] + "7"],
    "created_at": "2026-01-01T12:00:00Z",
    "queue_position": 1,
}

router = APIRouter(prefix="/v1/followups", tags=["follow-up"])


@router.post(
    "",
    summary="Compare the studies of a patient",
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        **problem_responses(
            NotFound, NotFinished, IdempotencyConflict, NotComparable, InvalidParameter, QueueFull, StorageFull,
            TooManyRequests,
        ),
        202: example_response(EXAMPLE, ("Location", "Retry-After")),
    },
)  # fmt: skip
async def submit(
    request: Request,
    response: Response,
    caller: Submitter,
    submission: Annotated[FollowUpSubmission, Body(examples=[{"jobs": EXAMPLE["jobs"]}])],
    idempotency_key: Annotated[
        str | None, Header(description=IDEMPOTENCY_KEY_DESCRIPTION, examples=["patient-7-may"])
    ] = None,
) -> FollowUp:
    """Follow the lesions of a patient over two or more jobs that have succeeded, oldest first.

    The reviewed state of each is compared, where it has been reviewed.
    """
    gateway: Gateway = request.app.state.gateway
    check_idempotency_key(idempotency_key)
    request_id = request.scope["state"]["request_id"]
    work = partial(submit_follow_up, gateway, submission, caller, idempotency_key, request_id)
    found = await to_thread.run_sync(work, limiter=gateway.threads.uploads)
    request.scope["state"]["job"] = found.id
    response.headers["Location"] = f"/v1/followups/{found.id}"
    response.headers["Retry-After"] = "1"
    return found


@router.get(
    "/{follow_up_id}",
    summary="Poll a follow-up",
    responses={**problem_responses(NotFound, InvalidParameter), 200: example_response(EXAMPLE, ("Retry-After",))},
)
async def follow_up(
    request: Request,
    response: Response,
    gateway: CurrentGateway,
    _: Reader,
    follow_up_id: FollowUpId,
    wait: Wait = 0,
) -> FollowUp:
    """The state of a follow-up, with its result once it has succeeded."""
    state = await wait_for_end(gateway, request, response, follow_up_id, wait)
    return await to_thread.run_sync(describe_follow_up, gateway, state)


@router.get(
    "/{follow_up_id}/report",
    summary="A report of a follow-up to read or print",
    response_class=Response,
    responses={**problem_responses(NotFound, NotFinished, ReviewedMeanwhile), **file_responses(HTML)},
)
async def report(request: Request, gateway: CurrentGateway, _: Reader, follow_up_id: FollowUpId) -> Response:
    """Table, chart, and pictures of each target lesion at each date: self-contained HTML without scripts, for A4.

    It is made of the studies as they were compared: refused once one of them has been reviewed again.
    """
    headers = _headers(HTML, f'inline; filename="{follow_up_id}_report.html"')
    return await follow_up_response(gateway, request, follow_up_id, render_follow_up_report, headers)


@router.get(
    "/{follow_up_id}/structured-report",
    summary="A follow-up as a DICOM structured report",
    response_class=Response,
    responses={
        **problem_responses(NotFound, NotFinished, NotAvailable, ReviewedMeanwhile),
        **file_responses(DICOM),
    },
)
async def structured_report(request: Request, gateway: CurrentGateway, _: Reader, follow_up_id: FollowUpId) -> Response:
    """Each lesion at each date in template TID 1500, under one tracking UID, if all studies were uploaded as DICOM."""
    headers = _headers(DICOM, f'attachment; filename="{follow_up_id}_follow-up.dcm"')
    return await follow_up_response(gateway, request, follow_up_id, write_follow_up_sr, headers)


def _headers(media_type: str, disposition: str) -> dict[str, str]:
    return {
        "Content-Type": media_type,
        "Content-Disposition": disposition,
        "Cache-Control": "private, no-store",
        "Content-Security-Policy": REPORT_POLICY,
    }


@router.delete(
    "/{follow_up_id}",
    summary="Cancel and delete a follow-up",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses(NotFound),
)
def delete(gateway: CurrentGateway, _: Submitter, follow_up_id: FollowUpId) -> None:
    """Cancel a follow-up if it waits or runs, and delete it; the jobs that it compares stay."""
    gateway.jobs.delete(follow_up_id)

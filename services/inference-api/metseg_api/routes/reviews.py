"""Reviews: what a reader changes of a result."""

from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response

from metseg.contracts import ReviewHistory, ReviewRecord
from metseg.errors import (
    InvalidParameter,
    NotFinished,
    NotFound,
    ReviewedMeanwhile,
    ReviewNotNamed,
    StudyTooLarge,
    TooManyRequests,
)
from metseg_api.auth import Reader, Submitter
from metseg_api.gateway import CurrentGateway, Gateway
from metseg_api.openapi import VERSION, example_response, problem_responses
from metseg_api.reviewing import put_review, read_review, review_etag, review_in_force, withdraw_review
from metseg_api.routes.paths import JobId

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

IfMatch = Annotated[str | None, Header(description="the ETag of the review that is replaced", examples=['"0"'])]
REPLACE_ERRORS = (NotFound, NotFinished, ReviewNotNamed, ReviewedMeanwhile)
EXAMPLE = {
    "thresholds": {"core": 0.4},
    "corrections": {"core": {"added": [123456, 5], "erased": []}},
    "lesions": [{"voxel": [12, 100, 90], "decision": "reject"}],
    "may_be_used_for_training": True,
}
RECORD = {
    "number": 1,
    "reviewed_by": "ward-3",
    "reviewed_at": "2026-01-01T12:00:00Z",
    "review": EXAMPLE,
    "model_version": VERSION,
    "agreement": {"dice": {"core": 0.93, "whole": 0.97}, "lesions_added": 0, "lesions_rejected": 1},
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Review"}, "example": EXAMPLE}},
    }
}


@router.get(
    "/review",
    summary="The review in force",
    responses={
        **problem_responses(NotFound, NotFinished, InvalidParameter),
        200: example_response(RECORD, ("ETag",)),
    },
)
def review(
    response: Response,
    gateway: CurrentGateway,
    _: Reader,
    job_id: JobId,
    number: Annotated[int | None, Query(ge=0, description="an earlier review; 0: before the first")] = None,
) -> ReviewRecord:
    """What a reader changed of the model's own answer; without `number`, as it is in force."""
    record = review_in_force(gateway, job_id)
    if number == 0 and record.number:
        record = ReviewRecord(number=0, model_version=record.model_version)
    elif number:
        record = gateway.jobs.reviews.record(job_id, number)
    response.headers["ETag"] = review_etag(record)
    return record


@router.put(
    "/review",
    summary="Review a result",
    responses={
        **problem_responses(*REPLACE_ERRORS, InvalidParameter, StudyTooLarge, TooManyRequests),
        200: example_response(RECORD, ("ETag",)),
    },
    openapi_extra=BODY,
)
async def replace_review(
    request: Request, response: Response, caller: Submitter, job_id: JobId, if_match: IfMatch = None
) -> ReviewRecord:
    """Replace the review of a job: figures and every download follow, and the model's own answer stays available."""
    gateway: Gateway = request.app.state.gateway
    async with gateway.reviews.hold(caller.tag):
        changes = await read_review(request)
        work = partial(put_review, gateway, job_id, changes, if_match, caller.name)
        record = await to_thread.run_sync(work, limiter=gateway.threads.reviews)
    response.headers["ETag"] = review_etag(record)
    return record


@router.delete(
    "/review",
    summary="Return to the model's own answer",
    responses={**problem_responses(*REPLACE_ERRORS), 200: example_response(RECORD | {"review": None}, ("ETag",))},
)
def delete_review(
    response: Response, gateway: CurrentGateway, caller: Submitter, job_id: JobId, if_match: IfMatch = None
) -> ReviewRecord:
    """Return to the model's own answer; the review stays in the history."""
    record = withdraw_review(gateway, job_id, if_match, caller.name)
    response.headers["ETag"] = review_etag(record)
    return record


@router.get(
    "/reviews",
    summary="All reviews of a job",
    responses={**problem_responses(NotFound, NotFinished), 200: example_response({"reviews": [RECORD]})},
)
def history(gateway: CurrentGateway, _: Reader, job_id: JobId) -> ReviewHistory:
    """All reviews, newest first, with the returns to the model's own answer."""
    gateway.jobs.results(job_id, reviewed=False)
    return gateway.jobs.reviews.history(job_id)

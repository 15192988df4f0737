"""Reviews: who may replace which, and the work that replacing one takes."""

import re
from datetime import UTC, datetime

from anyio import to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from metseg.contracts import Review, ReviewRecord, ReviewStamp
from metseg.errors import ReviewedMeanwhile, ReviewNotNamed, StudyTooLarge
from metseg.jobs import MEANWHILE
from metseg.results.review import make_review
from metseg_api.gateway import Gateway
from metseg_api.stored_job import JobView, StoredJob

__all__ = ["MAX_REVIEW_VOXELS", "put_review", "read_review", "review_etag", "review_in_force", "withdraw_review"]

MAX_REVIEW_VOXELS = 48 * 2**20
"""Of a study that can be reviewed, such as 192 slices of 512 x 512; each takes up to 11 bytes of memory."""


async def read_review(request: Request) -> Review:
    """The review in the body of a request, read only after the caller is known.

    Raises:
        RequestValidationError: the body is not a review.
    """
    body = await request.body()
    try:
        return await to_thread.run_sync(Review.model_validate_json, body)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in details]) from error


def review_in_force(gateway: Gateway, job_id: str) -> ReviewRecord:
    """The review of a job, which has the number 0 and no content where there was never one.

    Args:
        gateway: the gateway.
        job_id: of the job.

    Returns:
        The review.

    Raises:
        NotFound: there is no such job.
        NotFinished: it has not succeeded, or not yet.
    """
    own = gateway.jobs.results(job_id, reviewed=False)
    stored = gateway.jobs.reviews.in_force(job_id)
    return stored or ReviewRecord(number=0, model_version=gateway.jobs.read_result(own).model_version)


def put_review(
    gateway: Gateway, job_id: str, review: Review, if_match: str | None, key_name: str | None
) -> ReviewRecord:
    """Put a review into force.

    Args:
        gateway: the gateway.
        job_id: of a job that succeeded.
        review: the reader's changes to the model's own answer.
        if_match: the header, which names the review that is replaced.
        key_name: of the reader's API key.

    Returns:
        The review as it is stored.

    Raises:
        ReviewNotNamed: there is no such header.
        ReviewedMeanwhile: another review is in force.
        StudyTooLarge: the study has too many voxels to be reviewed here.
        InvalidParameter: the review does not fit the study.
    """
    number = _current(gateway, job_id, if_match).number + 1
    job = StoredJob(gateway, JobView(job_id).own)
    slices, rows, columns = job.result().shape
    if slices * rows * columns > MAX_REVIEW_VOXELS:
        raise StudyTooLarge(
            f"A study of {slices} slices of {rows} x {columns} pixels is too large for a review; {MAX_REVIEW_VOXELS:,} "
            "voxels are possible."
        )
    stamp = ReviewStamp(number=number, reviewed_by=key_name, reviewed_at=datetime.now(UTC))
    made = make_review(job, review, stamp)
    record = ReviewRecord(
        **stamp.model_dump(), review=review, model_version=made.result.model_version, agreement=made.agreement
    )
    gateway.jobs.reviews.add(job_id, record, made.result, made.artefacts)
    gateway.jobs.agreements.record(job_id, record)
    return record


def withdraw_review(gateway: Gateway, job_id: str, if_match: str | None, key_name: str | None) -> ReviewRecord:
    """Return to the model's own answer.

    Args:
        gateway: the gateway.
        job_id: of a job that succeeded.
        if_match: the header, which names the review that is withdrawn.
        key_name: of the reader's API key.

    Returns:
        The record of that.

    Raises:
        ReviewNotNamed: there is no such header.
        ReviewedMeanwhile: another review is in force.
    """
    current = _current(gateway, job_id, if_match)
    record = ReviewRecord(
        number=current.number + 1,
        reviewed_by=key_name,
        reviewed_at=datetime.now(UTC),
        model_version=current.model_version,
    )
    gateway.jobs.reviews.add(job_id, record, None, {})
    gateway.jobs.agreements.record(job_id, record)
    return record


def review_etag(record: ReviewRecord) -> str:
    """The entity tag of a review, quoted."""
    return f'"{record.number}"'


def _current(gateway: Gateway, job_id: str, if_match: str | None) -> ReviewRecord:
    """The review in force, if it is the one that the caller names."""
    current = review_in_force(gateway, job_id)
    if if_match is None:
        raise ReviewNotNamed(
            "Send If-Match with the ETag of the review that you replace, as GET returned it, or If-Match: * to replace "
            "any."
        )
    if if_match.strip() != "*" and review_etag(current) not in re.findall(r'(?<!W/)"[^"]*"', if_match):
        raise ReviewedMeanwhile(MEANWHILE)
    return current

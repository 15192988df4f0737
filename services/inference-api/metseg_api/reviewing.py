"""Reviews: who may replace which, and the work that replacing one takes."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from anyio import to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from metseg.contracts import Review, ReviewRecord, ReviewStamp, Structure
from metseg.errors import (
    MetsegError,
    ReviewedMeanwhile,
    ReviewNotNamed,
    StudyTooLarge,
    Unavailable,
    UploadInterrupted,
)
from metseg.imaging import ROLES
from metseg.jobs import MEANWHILE
from metseg.results import SLICE_ARCHIVE
from metseg.results.exports import MASK, WHOLE_MASK
from metseg.results.review import ReviewFiles, make_review
from metseg_api.gateway import Gateway
from metseg_api.stored_job import JobView, StoredJob

log = logging.getLogger(__name__)

__all__ = ["MAX_REVIEW_VOXELS", "put_review", "read_review", "review_etag", "review_in_force", "withdraw_review"]

MAX_REVIEW_VOXELS = 48 * 2**20
"""Of a study that can be reviewed, such as 192 slices of 512 x 512; each takes up to 11 bytes of memory."""


async def read_review(request: Request) -> Review:
    """The review in the body of a request, read only after the caller is known.

    Raises:
        RequestValidationError: the body is not a review.
        UploadInterrupted: it ended early.
    """
    try:
        body = await request.body()
    except ClientDisconnect as error:
        raise UploadInterrupted("The connection ended before the review did.") from error
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
    with _training_copy(gateway, job, record, made):
        gateway.jobs.reviews.add(job_id, record, made.result, made.artefacts)
    gateway.jobs.agreements.record(job_id, record)
    return record


@contextmanager
def _training_copy(gateway: Gateway, job: StoredJob, record: ReviewRecord, made: ReviewFiles) -> Iterator[None]:
    """While a review is stored: copy the study for training if the review allows it, or else delete earlier copies.

    A study of unknown spacing is not copied, since nothing could be measured in it.
    """
    training, result = gateway.jobs.training, made.result
    is_allowed = record.review is not None and record.review.may_be_used_for_training and result.spacing_mm is not None
    if not is_allowed:
        training.withdraw(job.job_id, record.number)
        yield
        return
    names: dict[Structure, str] = {"core": MASK, "whole": WHOLE_MASK} if result.structure == "core" else {"whole": MASK}
    masks = {structure: made.artefacts[name] for structure, name in names.items()}
    training.deposit(job.job_id, record.number, job.results.part(SLICE_ARCHIVE), masks)
    try:
        yield
    except MetsegError:
        training.discard(job.job_id, record.number)
        raise
    description = {
        "review": record.number,
        "model_version": record.model_version,
        "roles": [role for role in ROLES if role in result.identified or not result.identified],
        "structures": list(masks),
    }
    try:
        training.release(job.job_id, gateway.jobs.get(job.job_id).patient, description)
    except Unavailable:  # the review is in force, and only the trainer lacks the study
        log.warning("the study of job %s is not available for training", job.job_id)


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
    gateway.jobs.training.withdraw(job_id, record.number)
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

"""Follow-ups at the gateway: from the ids of finished jobs to a queued comparison, and from the store to the client."""

import hashlib
import json
from datetime import UTC, datetime

from metseg.contracts import FollowUp, FollowUpResult, FollowUpSubmission, Job, JobStatus, Request, is_follow_up_id
from metseg.errors import InvalidParameter, NotFound
from metseg.followup import check_comparable
from metseg.jobs import RESULT, hash_key, new_follow_up_id, parse_record, read_artefact
from metseg_api.admission import admit
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway
from metseg_api.submissions import discard_on_failure, enqueue

__all__ = ["describe_follow_up", "submit_follow_up"]


def submit_follow_up(
    gateway: Gateway,
    submission: FollowUpSubmission,
    caller: Caller,
    idempotency_key: str | None,
    request_id: str | None = None,
) -> FollowUp:
    """Queue the comparison of some jobs. Blocks on the store and the queue.

    Args:
        gateway: the gateway.
        submission: the jobs.
        caller: who submits.
        idempotency_key: None: the submission is always a new follow-up.
        request_id: of the HTTP request, for logs.

    Returns:
        The new follow-up, or the earlier one with this idempotency key of this caller.

    Raises:
        NotFound: a job does not exist, or is another key's.
        NotFinished: a job has no result.
        NotComparable: the jobs cannot be compared.
        TooManyRequests: the caller has submitted too many.
        Unavailable: the store or the queue is down; nothing was stored.
    """
    key = None if idempotency_key is None else hash_key(f"{caller.tag} followup {idempotency_key}")
    digest = hashlib.sha256(json.dumps(submission.jobs).encode()).hexdigest()
    if key is not None and (holder := gateway.jobs.key_holder(key, digest)):
        return describe_follow_up(gateway, gateway.jobs.get(holder))
    _check(gateway, submission.jobs, caller)
    admit(gateway, caller, 0)
    follow_up_id = new_follow_up_id(caller.tag)
    identity = {"id": follow_up_id, "created_at": datetime.now(UTC), "request_id": request_id}
    request = Request(**identity, studies=submission.jobs, key_sha256=key)
    with discard_on_failure(gateway, follow_up_id, key):
        gateway.jobs.deposit(request, [])
        return describe_follow_up(gateway, enqueue(gateway, request, digest))


def _check(gateway: Gateway, job_ids: list[str], caller: Caller) -> None:
    """Refuse jobs that cannot be compared, before anything is queued."""
    for job_id in job_ids:
        if is_follow_up_id(job_id):
            raise InvalidParameter("Name jobs, not follow-ups.")
        if not caller.may_see(job_id):
            raise NotFound("There is no such job.")
    results = [gateway.jobs.result(job_id) for job_id in job_ids]
    requests = [gateway.jobs.request(job_id) for job_id in job_ids]
    check_comparable(results, [one.taken_on for one in requests], [one.patient for one in requests])


def describe_follow_up(gateway: Gateway, job: Job) -> FollowUp:
    """A follow-up as clients see it.

    Args:
        gateway: the gateway.
        job: its state.

    Returns:
        The follow-up, with its result if it has succeeded.

    Raises:
        NotFound: it has been deleted meanwhile.
        UnreadableRecord: this release cannot read its result.
    """
    result = None
    if job.status is JobStatus.SUCCEEDED:
        stored = gateway.jobs.results(job.id, reviewed=False)
        result = parse_record(FollowUpResult, read_artefact(gateway.store, stored, RESULT))
    return FollowUp(
        id=job.id,
        status=job.status,
        jobs=gateway.jobs.request(job.id).studies,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        queue_position=job.queue_position,
        problem=job.problem,
        result=result,
    )

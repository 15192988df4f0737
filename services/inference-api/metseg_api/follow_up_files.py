"""The files of a follow-up, made of its studies as they lie in the store."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import BinaryIO

from anyio import to_thread
from fastapi import Request, Response

from metseg.contracts import JobStatus
from metseg.errors import NotFinished, ReviewedMeanwhile
from metseg.followup import FinishedFollowUp
from metseg_api import spool
from metseg_api.follow_ups import describe_follow_up
from metseg_api.gateway import Gateway
from metseg_api.stored_job import JobView, StoredJob
from metseg_api.streams import ChunkedResponse, key_name

__all__ = ["follow_up_response"]

MAX_SLICES = 60
"""That a file of a follow-up shows: of five lesions at twelve dates."""


async def follow_up_response(
    gateway: Gateway,
    request: Request,
    follow_up_id: str,
    write: Callable[[FinishedFollowUp, BinaryIO], None],
    headers: Mapping[str, str],
) -> Response:
    """A file that is made for each request.

    Args:
        gateway: the gateway.
        request: the request for it.
        follow_up_id: of the follow-up.
        write: makes it.
        headers: of the response.

    Returns:
        The file.

    Raises:
        NotFound: the follow-up or a study has been deleted.
        NotFinished: the follow-up has no result.
        ReviewedMeanwhile: a study has been reviewed since, so that its outlines are not those that were compared.
        TooManyDownloads: the caller's other downloads do not end.
    """
    key = key_name(request)
    await gateway.downloads.acquire(key)
    with ExitStack() as stack:
        stack.callback(gateway.downloads.release, key)
        follow_up = await to_thread.run_sync(_read, gateway, follow_up_id)
        rows, columns = follow_up.studies[0].result().shape[1:]
        async with gateway.conversions.hold(MAX_SLICES * rows * columns):
            content = await to_thread.run_sync(spool.make, write, follow_up, limiter=gateway.threads.conversions)
        media_type = headers["Content-Type"]
        response = ChunkedResponse(content.chunks(), {**headers, "Content-Length": str(content.size)}, media_type)
        response.on_sent = stack.pop_all().close
    return response


def _read(gateway: Gateway, follow_up_id: str) -> FinishedFollowUp:
    """A follow-up with its studies, which have to be as they were when they were compared."""
    found = describe_follow_up(gateway, gateway.jobs.get(follow_up_id))
    if found.status is not JobStatus.SUCCEEDED or found.result is None:
        raise NotFinished("The follow-up has no result yet.")
    studies = [StoredJob(gateway, JobView(job_id)) for job_id in found.jobs]
    for place, (study, followed) in enumerate(zip(studies, found.result.studies, strict=True), start=1):
        if study.results.review != followed.review:
            raise ReviewedMeanwhile(f"Study {place} has been reviewed since this follow-up; compare the studies again.")
    return FinishedFollowUp(follow_up_id, found.finished_at, found.result, studies)

"""Path parameters: a malformed value is a 404, like one that does not exist."""

from typing import Annotated

from fastapi import Depends, Path, Query

from metseg.contracts import FOLLOW_UP_DIGIT, is_follow_up_id, is_job_id, is_model_version
from metseg.errors import NotFound
from metseg_api.auth import Caller, CurrentCaller
from metseg_api.openapi import JOB_ID, VERSION
from metseg_api.stored_job import JobView

FOLLOW_UP_ID = f"{JOB_ID[:12]}{FOLLOW_UP_DIGIT}{JOB_ID[13:]}"


def may_see_job(caller: Caller, job_id: str) -> bool:
    """Whether a caller may see a job, if it exists.

    Args:
        caller: of the request.
        job_id: any text; that of a follow-up is not a job's.

    Returns:
        Whether it is a job's id, and one of the caller's.
    """
    return is_job_id(job_id) and not is_follow_up_id(job_id) and caller.may_see(job_id)


async def _job_id(
    job_id: Annotated[str, Path(description="from the response to the submission", examples=[JOB_ID])],
    caller: CurrentCaller,
) -> str:
    if not may_see_job(caller, job_id):
        raise NotFound("There is no such job.")
    return job_id


async def _view(
    job_id: Annotated[str, Depends(_job_id)],
    reviewed: Annotated[bool, Query(description="false: the model's own answer, whatever a reader changed")] = True,
) -> JobView:
    return JobView(job_id, reviewed)


async def _follow_up_id(
    follow_up_id: Annotated[str, Path(description="from the response to the submission", examples=[FOLLOW_UP_ID])],
    caller: CurrentCaller,
) -> str:
    if not is_follow_up_id(follow_up_id) or not caller.may_see(follow_up_id):
        raise NotFound("There is no such follow-up.")
    return follow_up_id


async def _version(version: Annotated[str, Path(description="as listed by /v1/models", examples=[VERSION])]) -> str:
    if not is_model_version(version):
        raise NotFound("There is no such model version.")
    return version


FollowUpId = Annotated[str, Depends(_follow_up_id)]
JobId = Annotated[str, Depends(_job_id)]
View = Annotated[JobView, Depends(_view)]
Version = Annotated[str, Depends(_version)]

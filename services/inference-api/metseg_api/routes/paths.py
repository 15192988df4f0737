"""The parts of an address: a value that no resource of ours can have is 404, as any that is not there."""

from typing import Annotated

from fastapi import Depends, Path

from metseg.contracts import is_job_id, is_model_version
from metseg.errors import NotFound
from metseg_api.auth import TheCaller
from metseg_api.openapi import JOB_ID, VERSION


async def _job_id(
    job_id: Annotated[str, Path(description="as the submission's answer gave it", examples=[JOB_ID])], caller: TheCaller
) -> str:
    if not is_job_id(job_id) or not caller.may_see(job_id):
        raise NotFound("There is no such job.")
    return job_id


async def _version(version: Annotated[str, Path(description="as /v1/models lists it", examples=[VERSION])]) -> str:
    if not is_model_version(version):
        raise NotFound("There is no such model version.")
    return version


JobId = Annotated[str, Depends(_job_id)]
Version = Annotated[str, Depends(_version)]

"""The form of the ids of jobs and follow-ups, and of model versions."""

import re
from typing import Annotated, Final

from pydantic import Field

JOB_ID_PATTERN: Final = r"^[0-9a-f]{32}$"
MODEL_VERSION_PATTERN: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
MAX_MODEL_VERSION_LENGTH: Final = 64

ModelVersion = Annotated[str, Field(pattern=MODEL_VERSION_PATTERN, max_length=MAX_MODEL_VERSION_LENGTH)]

FOLLOW_UP_DIGIT: Final = "8"
"""The version digit of a follow-up's id; that of a job is 7."""

_JOB_ID = re.compile(JOB_ID_PATTERN)
_MODEL_VERSION = re.compile(MODEL_VERSION_PATTERN)


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id."""
    return _JOB_ID.fullmatch(text) is not None


def is_follow_up_id(text: str) -> bool:
    """Whether a text has the form of a follow-up's id, which differs from a job's in one digit."""
    return is_job_id(text) and text[12] == FOLLOW_UP_DIGIT


def is_model_version(text: str) -> bool:
    """Whether a text has the form of a model version."""
    return len(text) <= MAX_MODEL_VERSION_LENGTH and _MODEL_VERSION.fullmatch(text) is not None

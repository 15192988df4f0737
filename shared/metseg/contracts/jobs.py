"""Jobs: what is asked for, how far it is, who asks."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from metseg.contracts.base import Align, Contract, Probability, Problem, Role
from metseg.contracts.ids import ModelVersion
from metseg.contracts.models import Champion


class JobStatus(StrEnum):
    """The life of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Progress(Contract):
    """How far a running job is, in slices."""

    done: int = Field(ge=0)
    total: int = Field(ge=1)


class Job(Contract):
    """A submission's state, as a client polls it and as the store keeps it.

    `queue_position` and `progress` are live figures: they are present only while the job waits or runs.
    """

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    files: int = Field(ge=1, description="uploaded files")
    attempts: int = Field(default=0, ge=0, description="how often a worker began it")
    queue_position: int | None = Field(default=None, ge=1, description="1 is next")
    progress: Progress | None = None
    model_version: str | None = None
    problem: Problem | None = None


class JobPage(Contract):
    """Jobs, newest first; `next` is the cursor of the following page."""

    jobs: list[Job]
    next: str | None = None


class InputFile(Contract):
    """One uploaded file: where it lies, what the user called it, what it shows."""

    key: str
    name: str = Field(description="as uploaded, without any folder; never logged, never part of an object's name")
    size_bytes: int = Field(ge=1)
    sha256: str
    role: Role | None = None


class Request(Contract):
    """A submission as accepted: immutable, and all that a worker needs."""

    id: str
    created_at: datetime
    inputs: list[InputFile] = Field(min_length=1)
    threshold: Probability | None = Field(default=None, description="None: the model's own")
    model: str | None = Field(default=None, description="None: the champion")
    key_sha256: str | None = Field(default=None, description="of its caller and Idempotency-Key, where it has one")
    uncertainty: bool = Field(default=False, description="whether to look again, mirrored, at what may be lesion")
    request_id: str | None = Field(default=None, description="of the HTTP request that brought it; in every log line")
    align: Align = Field(default="rigid", description="what is done to volumes that lie on different grids")
    deidentify: bool = Field(default=False, description="identities were taken out before anything was stored")


class Holder(Contract):
    """Who a key belongs to and what it may do."""

    name: str | None = Field(description="None where the gateway is open to all")
    scopes: list[Literal["submit", "read", "admin"]]


class Overview(Contract):
    """The deployment at a glance."""

    waiting: int = Field(ge=0, description="jobs that wait for a worker")
    oldest_s: float = Field(ge=0, description="how long the first of them has waited")
    working: int = Field(ge=0, description="jobs in a worker's hands")
    workers: int = Field(ge=0, description="that gave a sign of life within a minute")
    ended: dict[str, int] = Field(description="jobs since Redis was last emptied: `succeeded` or the type of a problem")
    champion: Champion | None


class Repetition(Contract):
    """How to look at a study once more."""

    model: ModelVersion | None = Field(default=None, description="None: the champion")
    threshold: Probability | None = Field(default=None, description="None: the model's own")

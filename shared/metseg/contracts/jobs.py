"""Jobs: what was submitted, its state, and who submitted it."""

from datetime import date, datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from metseg.contracts.base import Align, Contract, Probability, Problem, Role, SequenceChoice, StrictContract
from metseg.contracts.ids import ModelVersion
from metseg.contracts.models import Champion
from metseg.contracts.results import ResultSummary


class JobStatus(StrEnum):
    """The states of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Progress(Contract):
    """The progress of a running job, in slices."""

    done: int = Field(ge=0)
    total: int = Field(ge=1)


class Job(Contract):
    """The state of a job, as clients poll it and as the store has it.

    `queue_position` and `progress` exist only while the job waits or runs.
    """

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    files: int = Field(ge=0, description="uploaded files; a follow-up has none")
    slices: int | None = Field(default=None, ge=1, description="of the study, as its headers say")
    label: str | None = Field(default=None, description="what the submitter calls the study; never logged")
    patient: str | None = Field(default=None, description="whose study it is, a pseudonym; never logged")
    taken_on: date | None = Field(default=None, description="when the study was acquired")
    attempts: int = Field(default=0, ge=0, description="how often a worker started it")
    queue_position: int | None = Field(default=None, ge=1, description="1 is next")
    progress: Progress | None = None
    model_version: str | None = None
    problem: Problem | None = None


class ListedJob(Job):
    """A job in a list."""

    summary: ResultSummary | None = Field(default=None, description="of its result as it is in force")


class JobPage(Contract):
    """Jobs, newest first; `next` is the cursor of the next page."""

    jobs: list[ListedJob]
    next: str | None = None


class InputFile(Contract):
    """One uploaded file: its key in the store, its name, its sequence."""

    key: str
    name: str = Field(description="as uploaded, without folders; never logged, never part of a key in the store")
    size_bytes: int = Field(ge=1)
    sha256: str
    role: Role | None = None


class Request(Contract):
    """An accepted submission, of a study or of a follow-up: immutable, and everything that a worker needs."""

    id: str
    created_at: datetime
    inputs: list[InputFile] = Field(default=[], description="of a study")
    studies: list[str] = Field(default=[], description="of a follow-up: the jobs that it compares, oldest first")
    slices: int | None = Field(default=None, ge=1, description="of the study, as its headers say")
    threshold: Probability | None = Field(default=None, description="None: the model's own")
    model: str | None = Field(default=None, description="None: the champion")
    key_sha256: str | None = Field(default=None, description="of its caller and Idempotency-Key, if it has one")
    sequence: SequenceChoice = Field(default="auto", description="of a grey image that does not say what it is")
    exchanged: dict[Role, Role] = Field(default={}, description="what an image is, by what it is taken for when read")
    uncertainty: bool = Field(default=False, description="whether to also predict mirrored copies of possible lesions")
    request_id: str | None = Field(default=None, description="of the HTTP request that submitted it; in every log line")
    align: Align = Field(default="rigid", description="how volumes on different grids are aligned")
    deidentify: bool = Field(default=False, description="identities were removed before anything was stored")
    label: str | None = Field(default=None, description="what the submitter calls the study; never logged")
    patient: str | None = Field(default=None, description="whose study it is, a pseudonym; never logged")
    taken_on: date | None = Field(default=None, description="when the study was acquired")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.inputs) == bool(self.studies):
            raise ValueError("a request has inputs or studies")
        return self


class KeyInfo(Contract):
    """An API key's name and scopes."""

    name: str | None = Field(description="None if the deployment has no keys")
    scopes: list[Literal["submit", "read", "admin"]]

    @property
    def is_admin(self) -> bool:
        """Whether the key may administer the deployment, and sees the jobs of all keys."""
        return "admin" in self.scopes


class Overview(Contract):
    """An overview of the deployment."""

    waiting: int = Field(ge=0, description="jobs that wait for a worker")
    oldest_s: float = Field(ge=0, description="how long the first of them has waited")
    working: int = Field(ge=0, description="jobs that a worker is processing")
    workers: int = Field(ge=0, description="with a heartbeat within a minute")
    ended: dict[str, int] = Field(description="jobs since Redis was last emptied: `succeeded` or the type of a problem")
    champion: Champion | None


class Resubmission(StrictContract):
    """The options of a resubmitted study."""

    model: ModelVersion | None = Field(default=None, description="None: the champion")
    threshold: Probability | None = Field(default=None, description="None: the model's own")
    sequence: SequenceChoice | None = Field(default=None, description="of its grey image; None: as submitted")
    exchanged: dict[Role, Role] = Field(
        default={}, description="what an image is, by what the result says that it was taken for; others stay"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({*self.exchanged.values()}) < len(self.exchanged):
            raise ValueError("two images cannot be the same sequence")
        return self

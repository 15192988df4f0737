"""Follow-up: the lesions of a patient over two or more studies, and the response as RANO-BM defines it."""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from metseg.contracts.base import DISCLAIMER, Contract, Problem, StrictContract, Structure
from metseg.contracts.ids import JOB_ID_PATTERN
from metseg.contracts.jobs import JobStatus
from metseg.contracts.results import Float4

MAX_STUDIES = 12

LesionState = Literal["new", "grown", "stable", "shrunk", "gone", "merged", "split", "uncovered"]
"""`merged`: it has grown together with another lesion, or is what they became; `split`: it is a part of what was one
lesion; `uncovered`: its place is outside of this scan or, where the lesion is seen, of those before."""
Response = Literal["complete", "partial", "stable", "progressive"]
JobIds = Annotated[list[Annotated[str, Field(pattern=JOB_ID_PATTERN)]], Field(min_length=2, max_length=MAX_STUDIES)]


class FollowUpSubmission(StrictContract):
    """The studies to compare."""

    jobs: JobIds = Field(description="oldest first; the first one is the baseline")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.jobs)) < len(self.jobs):
            raise ValueError("name each job once")
        return self


class VisitRegistration(Contract):
    """How the head lay at a visit, compared with the first one."""

    moved_mm: float = Field(ge=0, description="of the middle of the first scan")
    turned_degrees: float = Field(ge=0)
    disagreement_mm: float = Field(
        ge=0,
        description="estimates the error: mean distance of the registrations in both directions",
    )
    from_first: tuple[Float4, Float4, Float4, Float4] = Field(
        description="from patient millimetres (RAS+) of the first scan to those of this one"
    )


class ResponseProposal(Contract):
    """What the outlines say by the rules of RANO-BM; a reader decides."""

    response: Response | None = Field(description="None where the outlines do not decide it; `reasons` say why")
    confirmed: bool | None = Field(
        default=None,
        description="whether a complete or partial response has lasted four weeks; None where dates are unknown",
    )
    reasons: list[str] = Field(description="the measured facts that decided")
    unknown: list[str] = Field(description="what RANO-BM asks for and no outline shows")


class FollowedStudy(Contract):
    """One study of a follow-up."""

    job_id: str
    taken_on: date | None = Field(default=None, description="as submitted with it")
    model_version: str
    review: int = Field(default=0, ge=0, description="number of the review compared; 0: the model's own answer")
    registration: VisitRegistration | None = Field(default=None, description="None of the first study")
    lesions: int = Field(ge=0)
    volume_mm3: float = Field(ge=0, description="of all lesions")
    target_diameter_sum_mm: float | None = Field(
        default=None,
        description="of the first study's target lesions; None without any, or if one is uncovered",
    )
    sum_change_from_baseline_percent: float | None = None
    sum_nadir_mm: float | None = Field(default=None, description="the smallest sum of the studies before")
    sum_change_from_nadir_percent: float | None = None
    response: ResponseProposal | None = Field(default=None, description="None of the first study")


class TrackMeasurement(Contract):
    """A lesion at one date. Changes are since the date before at which its place was seen."""

    lesion: int | None = Field(description="its number in the result of that study; None if there is none")
    state: LesionState | None = Field(description="None of the first study")
    target: bool = Field(description="whether its diameter counts in the sum of that date")
    volume_mm3: float | None = Field(description="0 of a lesion that is gone; None of one that is uncovered")
    long_diameter_mm: float | None
    centroid_mm: tuple[float, float, float] | None = Field(default=None, description="RAS+, of that scan")
    largest_slice: int | None = Field(default=None, ge=0)
    slices: int = Field(default=0, ge=0, description="that show it")
    volume_change_mm3: float | None = Field(
        default=None, description="lesions that merged and parts of one that split count together"
    )
    volume_change_percent: float | None = None
    diameter_change_mm: float | None = Field(default=None, description="None of what merged or split")
    diameter_change_percent: float | None = None


class LesionTrack(Contract):
    """One lesion over all dates."""

    track: int = Field(ge=1, description="its number in the follow-up: first those of the first study, largest first")
    target: bool = Field(description="a target lesion of the first study, or a part of one")
    label: str | None = Field(default=None, description="what a reader called it last; never logged")
    merged_into: int | None = Field(default=None, description="the track that it has grown together with")
    split_from: int | None = Field(default=None, description="the track that it was a part of")
    measurements: list[TrackMeasurement | None] = Field(
        description="by study; None before it appears and after it has merged"
    )


class FollowUpResult(Contract):
    """The lesions of a patient over time."""

    structure: Structure = Field(description="what the lesions are components of; of the whole there is no response")
    studies: list[FollowedStudy]
    tracks: list[LesionTrack]
    warnings: list[str]
    durations_s: dict[str, float] = Field(description="by phase: load, register, match")
    disclaimer: str = DISCLAIMER


class FollowUp(Contract):
    """A follow-up as clients poll it."""

    id: str
    status: JobStatus
    jobs: list[str] = Field(description="that it compares, oldest first")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_position: int | None = Field(default=None, ge=1, description="1 is next")
    problem: Problem | None = None
    result: FollowUpResult | None = Field(default=None, description="once it has succeeded")

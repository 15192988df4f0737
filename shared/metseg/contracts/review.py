"""Reviews: what a reader changes of a model's answer, and the history of that.

A review is a complete description of the reader's changes to the model's own answer, never to an earlier review, so
that the same review always gives the same masks. Places are voxels of the grid of the slices, (slice, row, column) from
0, as in `Lesion.box` and in the layers of `/v1/jobs/{id}/volume`. A review is applied in this order:

1. `thresholds`: the mask of a structure is made again from its stored probability map; without one, the model's own
   mask is taken.
2. `corrections`: voxels are added and erased. The core stays within the whole: what is added to the core is added to
   the whole, and what is erased from the whole is erased from the core.
3. `joined`: components that contain voxels of one group are one lesion.
4. `lesions`: rejected lesions are removed, the others get their labels and targets.

Steps 3 and 4 find a lesion by a voxel inside it, such as its `peak`, so that a decision lasts when a threshold or a
stroke of the brush changes the lesion's size or number. A decision for a place where there is no lesion now has no
effect, and has one again when the lesion is back.
"""

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from metseg.contracts.base import Contract, Probability, StrictContract, Structure

MAX_DECISIONS = 1_000
MAX_RUNS = 100_000
"""Of one list; a ball of 20 mm in voxels of 1 mm is about 300."""
MAX_LESION_LABEL_CHARACTERS = 64
"""As many as DICOM allows in the label of a segment."""

Voxel = Annotated[
    tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt], Field(description="slice, row, column, from 0")
]


def run_spans(runs: list[int]) -> list[tuple[int, int]]:
    """Runs as pairs of the first voxel and the first beyond."""
    return [(first, first + length) for first, length in zip(runs[::2], runs[1::2], strict=True)]


def _check_runs(runs: list[int]) -> list[int]:
    if len(runs) % 2:
        raise ValueError("it must be pairs of a first voxel and a length")
    spans = run_spans(runs)
    if any(first < 0 or stop <= first for first, stop in spans):
        raise ValueError("a run starts at 0 or later and has one voxel or more")
    if any(after[0] < before[1] for before, after in pairwise(spans)):
        raise ValueError("runs must ascend and must not overlap")
    return runs


def _overlap(one: list[int], other: list[int]) -> bool:
    """Whether two valid lists of runs share a voxel."""
    spans = sorted(run_spans(one) + run_spans(other))
    return any(after[0] < before[1] for before, after in pairwise(spans))


Runs = Annotated[list[int], Field(max_length=2 * MAX_RUNS), AfterValidator(_check_runs)]
"""Voxels as runs: first voxel, length, first voxel, length, ...

A voxel's number is `(slice * rows + row) * columns + column`, its place in the layers of `/v1/jobs/{id}/volume`. Runs
ascend and do not overlap; one may continue in the next row or slice.
"""


class LesionDecision(StrictContract):
    """What a reader decides about the lesion that contains a voxel."""

    voxel: Voxel = Field(description="inside the lesion, such as its `peak`: slice, row, column")
    decision: Literal["keep", "reject"] = "keep"
    target: bool | None = Field(default=None, description="None: as RANO-BM proposes for the reviewed lesions")
    label: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_LESION_LABEL_CHARACTERS,
        pattern=r"^[^\\\x00-\x1f\x7f]+$",
        description="what the reader calls the lesion; in the result and in DICOM, never logged",
    )


class VoxelCorrection(StrictContract):
    """What brush and eraser change of one structure."""

    added: Runs = Field(default=[], description="voxels as pairs of first and length")
    erased: Runs = Field(default=[], description="voxels as pairs of first and length")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if _overlap(self.added, self.erased):
            raise ValueError("a voxel is both added and erased")
        return self


class Review(StrictContract):
    """All of a reader's changes to the model's own answer. An empty review changes nothing and says "reviewed"."""

    thresholds: dict[Structure, Probability] = Field(
        default={}, description="of structures whose mask is made again; replaces both thresholds of the model"
    )
    corrections: dict[Structure, VoxelCorrection] = Field(default={}, description="by brush and eraser")
    joined: list[Annotated[list[Voxel], Field(min_length=2, max_length=MAX_DECISIONS)]] = Field(
        default=[], max_length=MAX_DECISIONS, description="groups of lesions that count as one, each by a voxel inside"
    )
    lesions: list[LesionDecision] = Field(
        default=[], max_length=MAX_DECISIONS, description="of several decisions on one lesion the first counts"
    )
    may_be_used_for_training: bool = Field(
        default=False, description="whether the study and its reviewed masks may teach a later model"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        core, whole = self.corrections.get("core"), self.corrections.get("whole")
        if core is not None and whole is not None and _overlap(core.added, whole.erased):
            raise ValueError("a voxel is added to the core and erased from the whole, which contains the core")
        return self


class ReviewStamp(Contract):
    """Which review of a job it is, whose and when."""

    number: int = Field(ge=0, description="1 is the first; a return to the model's own answer counts as well")
    reviewed_by: str | None = Field(default=None, description="name of the API key; None if the deployment has no keys")
    reviewed_at: datetime


class ReviewAgreement(Contract):
    """How far model and reviewer agree."""

    dice: dict[Structure, Probability] = Field(
        description="of the model's mask and the reviewed one; 1 if both are empty"
    )
    lesions_added: int = Field(ge=0, description="reviewed lesions that share no voxel with one of the model")
    lesions_rejected: int = Field(ge=0, description="lesions of the model that share no voxel with a reviewed one")


class ReviewRecord(Contract):
    """A review as it is stored, and as `/v1/jobs/{id}/review` returns it.

    Its ETag is its `number`. The record of a job that was never reviewed has the number 0 and no review.
    """

    number: int = Field(ge=0)
    reviewed_by: str | None = Field(default=None, description="name of the API key; None if the deployment has no keys")
    reviewed_at: datetime | None = Field(default=None, description="None: never reviewed")
    review: Review | None = Field(default=None, description="None: the model's own answer is in force")
    model_version: str
    agreement: ReviewAgreement | None = Field(default=None, description="None where there is no review")


class ReviewHistory(Contract):
    """All reviews of a job, newest first, with the returns to the model's own answer."""

    reviews: list[ReviewRecord]

"""Models: what is needed to preprocess for, serve and evaluate a version."""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from metseg.contracts.base import Contract, Probability, Role, StrictContract, Structure
from metseg.contracts.evaluation import Comparison, DiceSummary, Evaluation


class Preprocessing(StrictContract):
    """The contract between a model and its preprocessing, stored in its card.

    A worker serves a model only if its code implements `revision`.
    """

    revision: Literal[1] = 1
    pixel_scale: float = Field(default=0.5, gt=0, le=1, description="model pixels per reference pixel")
    multiple: int = Field(default=16, ge=1, description="rows and columns of the input are multiples of it")
    clahe_clip_limit: float = Field(default=2.0, gt=0)
    clahe_tiles: int = Field(default=4, ge=1, description="tiles per side of the head crop")
    low_percentile: float = Field(default=0.5, ge=0, lt=100)
    high_percentile: float = Field(default=99.5, gt=0, le=100)
    missing_sequences: Literal["zero", "copy"] = Field(
        default="copy", description="what a channel without a sequence holds: 0, or a copy of another sequence"
    )


class OperatingPoint(StrictContract):
    """What becomes part of a structure's mask; chosen on validation patients.

    The mask has hysteresis thresholds (Canny, IEEE PAMI 1986): a component of all voxels that reach `threshold` is kept
    if one of them reaches `seed_threshold`.
    """

    threshold: Probability = Field(default=0.5, description="the lowest probability of a voxel in the mask")
    seed_threshold: Probability = Field(default=0, description="the lowest highest probability of a component")
    min_volume_mm3: float = Field(default=0, ge=0, description="smaller components are removed")
    single_slice_seed_threshold: Probability | None = Field(
        default=None, description="replaces `seed_threshold` in a study of one slice; None: the same"
    )
    mirrored_from: Probability | None = Field(
        default=None,
        description="a slice that reaches it is predicted again mirrored, left for right, and both maps are averaged; "
        "None: no slice is",
    )


class DataCard(Contract):
    """What a model was trained on, without naming a patient."""

    name: str
    licence: str
    citations: list[str]
    patients: dict[str, int] = Field(description="by part of the split: train, validation, test")
    slices: dict[str, int]
    sha256: str = Field(description="of the sorted names and sizes of all files used")
    split_sha256: str = Field(description="of split.json; the run keeps the file")


class Variant(Contract):
    """How a version was made faster than the trained network, and what that costs."""

    precision: Literal["fp32", "int8"] = "fp32"
    pruning_level: int | None = Field(
        default=None, ge=1, le=4, description="of a U-Net++, 4 is the whole network; None for other networks"
    )
    dice_loss: float | None = Field(
        default=None,
        description="mean Dice of the best variant minus this one's, on validation patients; for core and whole the "
        "larger difference",
    )


class FullPrecision(Contract):
    """The 32-bit network of an 8-bit version, for processors that run 8-bit models more slowly."""

    sha256: str = Field(description="of model-fp32.onnx")
    operating_points: dict[Structure, OperatingPoint]


class OutOfDistributionReference(Contract):
    """Means and covariance of a few features of the training input, which reveal nothing about a patient.

    The distance of an input with the features `x` is the root of `z' precision z / len(z)` with
    `z = (x - mean) / scale`: about 1 for training input. Whether an input is flipped is measured by the ratio of its
    distance to that of its mirror image, front to back.
    """

    features: list[str] = Field(min_length=1)
    mean: list[float]
    scale: list[float]
    precision: list[list[float]] = Field(description="the inverse of the shrunk covariance of z")
    limit: float = Field(gt=0, description="of the distance, chosen on validation patients alone")
    turned_limit: float = Field(
        gt=0, description="of the flip ratio, chosen likewise; for single slices also on held-out training patients"
    )
    learned: int = Field(ge=1, description="training studies and their variations, or slices, behind these numbers")
    judged: int = Field(ge=1, description="validation ones on which the limits were chosen")
    false_alarms: Probability = Field(description="share of those beyond a limit")


class SequenceReferences(Contract):
    """References of one sequence: one for studies, one for single slices."""

    studies: OutOfDistributionReference
    lone_slices: OutOfDistributionReference


class OutOfDistributionCard(Contract):
    """References for detecting input unlike the training data."""

    revision: int = Field(description="of the features; a worker with another revision does not judge")
    sequences: dict[Role, SequenceReferences] = Field(
        description="by the sequence whose features they are; a study that has none of these is not judged"
    )


class ModelCard(Contract):
    """Everything that is needed to serve and evaluate a model version."""

    version: str
    created_at: datetime
    network: str
    parameters: int = Field(ge=1)
    sha256: str = Field(description="of model.onnx")
    preprocessing: Preprocessing
    operating_points: dict[Structure, OperatingPoint] = Field(
        description="by structure; the model's probability maps are of these structures, core first"
    )
    variant: Variant = Variant()
    full_precision: FullPrecision | None = None
    familiarity: OutOfDistributionCard | None = None
    data: DataCard
    figures: dict[str, DiceSummary] = Field(description="test results of every network that was compared")
    evaluation: dict[str, Evaluation] = Field(default={}, description="all results on the same patients, by network")
    implanted: dict[str, Evaluation] = Field(default={}, description="synthetic metastases in real heads, by network")
    further_evaluation: dict[str, Evaluation] = Field(
        default={}, description="of this version on further studies, by their set and structure"
    )
    comparison: Comparison | None = None
    git_revision: str
    packages: dict[str, str] = Field(description="versions of the packages that trained and exported it")
    intended_use: str
    limits: list[str]
    licence: str

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        if "whole" not in self.operating_points:
            raise ValueError("every model segments the whole")
        return self

    @property
    def threshold(self) -> float:
        """Of the lesions' mask, where the study has the sequences for it."""
        return self.operating_points["core" if "core" in self.operating_points else "whole"].threshold

    def evaluations_of(self, structure: Structure) -> dict[str, Evaluation]:
        """The version's evaluations of a structure.

        Args:
            structure: that lesions are of.

        Returns:
            By set of studies, the most telling first; the name of the test patients as they are is empty.
        """
        suffix = f", {structure}"
        sets = {
            name.removesuffix(suffix): one for name, one in self.further_evaluation.items() if name.endswith(suffix)
        }
        own = {"": self.evaluation[self.network]} if self.network in self.evaluation else {}
        return own | sets if structure == "whole" else sets or own

    def in_full_precision(self) -> "ModelCard":
        """The card for `model-fp32.onnx`.

        Raises:
            ValueError: the version has no such model (a bug in the caller).
        """
        if self.full_precision is None:
            raise ValueError(f"version {self.version} has no 32-bit model")
        points, variant = self.full_precision.operating_points, self.variant.model_copy(update={"precision": "fp32"})
        return self.model_copy(update={"operating_points": points, "variant": variant})


class Champion(Contract):
    """The pointer to the version that serves."""

    version: str
    sha256: str
    promoted_at: datetime
    previous: str | None = Field(default=None, description="served if this one is damaged")


class ModelPage(Contract):
    """The registry: all versions, newest first, and the one that serves."""

    models: list[ModelCard]
    champion: Champion | None

"""Models: what has to be known of a version to feed, serve and judge it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from metseg.contracts.base import Contract, Probability
from metseg.contracts.evaluation import Comparison, DiceSummary, Evaluation


class Preprocessing(Contract):
    """The contract between a model and the code that feeds it, stored in its card.

    A worker serves a model only if its own code implements `revision`.
    """

    revision: Literal[1] = 1
    pixel_scale: float = Field(default=0.5, gt=0, le=1, description="model pixels a reference pixel")
    multiple: int = Field(default=16, ge=1, description="rows and columns fed are multiples of it")
    clahe_clip_limit: float = Field(default=2.0, gt=0)
    clahe_tiles: int = Field(default=4, ge=1, description="tiles a side of the head crop")
    low_percentile: float = Field(default=0.5, ge=0, lt=100)
    high_percentile: float = Field(default=99.5, gt=0, le=100)


class DataCard(Contract):
    """What a model learned from, without naming a patient."""

    name: str
    licence: str
    citations: list[str]
    patients: dict[str, int] = Field(description="by part of the split: train, validation, test")
    slices: dict[str, int]
    sha256: str = Field(description="of the sorted names and sizes of all files used")
    split_sha256: str = Field(description="of split.json; the run keeps the file")


class Variant(Contract):
    """What of a trained network a version keeps in order to be fast, and what that costs."""

    precision: Literal["fp32", "int8"] = "fp32"
    pruning_level: int | None = Field(
        default=None, ge=1, le=4, description="of a U-Net++, 4 is the whole network; None for other networks"
    )
    dice_loss: float | None = Field(
        default=None, description="mean patient Dice of the best variant less this one's, on the validation patients"
    )


class FullPrecision(Contract):
    """A version's network in 32 bits, beside its 8-bit model: what a processor serves that runs the latter slower."""

    sha256: str = Field(description="of model-fp32.onnx")
    threshold: Probability
    smallest_lesion_px: float = Field(ge=0)


class FamiliarityReference(Contract):
    """The training input in means and a covariance of a few features, which tell nothing of a patient.

    The distance of an input with the features `x` is the root of `z' precision z / len(z)` with
    `z = (x - mean) / scale`, about 1 for what the model learned from. How turned an input is tells its distance over
    that of its mirror image, front for back.
    """

    features: list[str] = Field(min_length=1)
    mean: list[float]
    scale: list[float]
    precision: list[list[float]] = Field(description="the inverse of the shrunk covariance of z")
    limit: float = Field(gt=0, description="of the distance, chosen on validation patients alone")
    turned_limit: float = Field(gt=0, description="of how turned an input is, chosen likewise")
    learned: int = Field(ge=1, description="training studies and their changes, or slices, that the figures are of")
    judged: int = Field(ge=1, description="validation ones that the limits were chosen on")
    false_alarms: Probability = Field(description="share of those beyond a limit")


class FamiliarityCard(Contract):
    """What a worker needs in order to tell input unlike a model's training data; lone slices have their own."""

    revision: int = Field(description="of the features; a worker that computes others tells nothing")
    studies: FamiliarityReference
    lone_slices: FamiliarityReference


class ModelCard(Contract):
    """Everything that has to be known of a model version to serve it and to judge it."""

    version: str
    created_at: datetime
    network: str
    parameters: int = Field(ge=1)
    sha256: str = Field(description="of model.onnx")
    preprocessing: Preprocessing
    threshold: Probability
    smallest_lesion_px: float = Field(
        default=0, ge=0, description="components of fewer reference pixels of 0.9 mm, over all slices, are left out"
    )
    variant: Variant = Variant()
    full_precision: FullPrecision | None = None
    familiarity: FamiliarityCard | None = None
    data: DataCard
    figures: dict[str, DiceSummary] = Field(description="test figures of every network that was compared")
    evaluation: dict[str, Evaluation] = Field(default={}, description="the same patients, all figures, by network")
    implanted: dict[str, Evaluation] = Field(default={}, description="on metastases drawn into real heads, by network")
    comparison: Comparison | None = None
    git_revision: str
    packages: dict[str, str] = Field(description="versions of what trained and exported it")
    intended_use: str
    limits: list[str]
    licence: str

    def in_full_precision(self) -> "ModelCard":
        """The card as it holds for `model-fp32.onnx`.

        Raises:
            ValueError: the version has none (a bug of the caller).
        """
        if self.full_precision is None:
            raise ValueError(f"version {self.version} has one model")
        point = self.full_precision.model_dump(exclude={"sha256"})
        return self.model_copy(update={**point, "variant": self.variant.model_copy(update={"precision": "fp32"})})


class Champion(Contract):
    """The pointer to the version that serves."""

    version: str
    sha256: str
    promoted_at: datetime


class ModelPage(Contract):
    """The registry: all versions, newest first, and the one that serves."""

    models: list[ModelCard]
    champion: Champion | None

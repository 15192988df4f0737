"""What crosses a wire: jobs, results, model cards and problems, as the store and the REST API hold them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from metseg.errors import MetsegError

Probability = Annotated[float, Field(ge=0, le=1)]
Role = Literal["pre", "flair", "post"]
Align = Literal["rigid", "none"]
Whole3 = tuple[int, int, int]
Row4 = tuple[float, float, float, float]


class Contract(BaseModel):
    """The common ground: immutable, and no unknown field passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Contract):
    """A problem detail as of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None

    @classmethod
    def of(cls, error: MetsegError, instance: str | None = None) -> "Problem":
        """The problem that tells of `error`."""
        return cls(type=error.type, title=error.title, status=error.status, detail=error.detail, instance=instance)


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


class NiftiPlace(Contract):
    """What a NIfTI header tells of its voxels' place, field by field, so that it can be written again bit by bit."""

    version: Literal[1, 2]
    dim: list[int] = Field(description="of the uploaded file, without its channels")
    pixdim: Row4 = Field(description="qfac and the sizes along the three axes")
    xyzt_units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, float, float]
    qoffset: tuple[float, float, float]
    srow: tuple[Row4, Row4, Row4]


class Grid(Contract):
    """How (slice, row, column) of a result maps back to the voxels of the uploaded volume; see `metseg.grid`."""

    axes: Whole3 = Field(description="the volume's axes that slices, rows and columns run along")
    flipped: tuple[bool, bool, bool] = Field(description="whether slices, rows and columns run against their axis")
    shape: Whole3 = Field(description="voxels along the volume's three axes")
    affine: tuple[Row4, Row4, Row4, Row4] | None = Field(
        description="from the volume's voxels to patient millimetres (RAS+); None where it tells no place"
    )
    nifti: NiftiPlace | None = Field(default=None, description="of an upload that was NIfTI")


class Alignment(Contract):
    """How far a sequence was moved onto the one that the result lies on."""

    role: Role
    moved_mm: float = Field(ge=0, description="of the middle of the volume")
    turned_degrees: float = Field(ge=0)


class Box(Contract):
    """A half-open box in voxels: `first` is inside, `stop` is not."""

    first: tuple[int, int, int]
    stop: tuple[int, int, int]


class Lesion(Contract):
    """One 26-connected component of the mask. Millimetres are None where no spacing is known."""

    number: int = Field(ge=1, description="1 is the largest; the label in mask.nii.gz stays 1")
    voxels: int = Field(ge=1)
    volume_mm3: float | None
    largest_slice: int = Field(ge=0, description="index of the slice with the largest area")
    largest_area_px: int = Field(ge=1)
    largest_area_mm2: float | None
    long_diameter_px: float = Field(description="largest in-plane Feret diameter")
    long_diameter_mm: float | None
    perpendicular_diameter_px: float
    perpendicular_diameter_mm: float | None
    box: Box
    centroid: tuple[float, float, float] = Field(description="slice, row, column")
    centroid_mm: tuple[float, float, float] | None = Field(
        default=None, description="to the right, the front and the top of the patient (RAS+); None where unknown"
    )
    mean_probability: Probability
    lowest_probability: Probability
    target: bool = Field(default=False, description="a target lesion as of RANO-BM")
    uncertainty: Probability | None = Field(
        default=None, description="1 less the agreement of the views on its extent; None where not asked for"
    )
    uncertainty_words: str | None = None


class SliceFigures(Contract):
    """What was found in one slice."""

    index: int = Field(ge=0)
    name: str
    lesions: list[int] = Field(description="numbers of the lesions that touch this slice")
    area_px: int = Field(ge=0)
    area_mm2: float | None
    highest_probability: Probability


class Familiarity(Contract):
    """How far a study lies from those that the model learned from."""

    score: float = Field(ge=0, description="in units of the card's limits, so that 1 is the limit; see docs/results.md")
    limit: float = Field(default=1, gt=0, description="beyond which a study is called unlike them")
    unlike: bool
    words: str


class Result(Contract):
    """The answer to a job."""

    job_id: str
    model_version: str
    network: str
    precision: Literal["fp32", "int8"] | None = Field(default=None, description="in which the model was computed")
    threshold: Probability
    shape: tuple[int, int, int] = Field(description="slices, rows, columns as uploaded")
    spacing_mm: tuple[float, float, float] | None
    lesions: list[Lesion]
    target_diameter_sum_px: float | None = Field(
        default=None, description="of the target lesions' long diameters; None where there is none"
    )
    target_diameter_sum_mm: float | None = None
    familiarity: Familiarity | None = Field(default=None, description="None where the model's card has no reference")
    uncertainty_words: str | None = Field(default=None, description="None where it was not asked for")
    slices: list[SliceFigures]
    warnings: list[str]
    durations_s: dict[str, float] = Field(description="by phase: read, predict, report")
    sequences: dict[Role, str] = Field(default={}, description="what became which channel, without identifiers")
    alignment: list[Alignment] = Field(default=[], description="of the volumes that were registered")
    grid: Grid | None = Field(default=None, description="None where the upload was slices, which have no other order")
    dicom: bool = Field(default=False, description="whether there are a DICOM segmentation and a structured report")
    disclaimer: str = "Research use only. Not a medical device; not for diagnosis or treatment."


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


class DiceSummary(Contract):
    """Dice by patient (all slices of a patient as one volume) of one model on one set of patients."""

    patients: int = Field(ge=1)
    mean: float
    median: float
    std: float
    lowest: float
    highest: float
    mean_single_slices: float | None = Field(default=None, description="each slice submitted alone")


class Interval(Contract):
    """A 95% interval."""

    low: float
    high: float


class Measure(Contract):
    """A figure over patients, each of whom weighs the same; intervals are of patients resampled."""

    patients: int = Field(ge=1, description="who have a value")
    mean: float
    mean_interval: Interval
    median: float
    median_interval: Interval


class Detection(Contract):
    """How many of some lesions were found."""

    lesions: int = Field(ge=1)
    sensitivity: Probability
    dice: Probability = Field(description="mean over these lesions; a missed one counts 0")


class LesionFigures(Contract):
    """Lesion by lesion; a lesion is a 26-connected component, in a lone slice an 8-connected one."""

    by_diameter: dict[str, Detection]
    lesionwise_dice: Measure = Field(description="by patient; missed and false lesions count 0 (BraTS-METS)")
    false_positives: Measure = Field(description="by patient")
    false_positives_on_vessels: float | None = Field(
        default=None, description="share of them that lie on vessels or other tissue that enhances by itself"
    )


class CalibrationPoint(Contract):
    """Pixels that were given about the same probability."""

    said: Probability
    true: Probability
    pixels: int


class Evaluation(Contract):
    """All test figures of one network on one set of patients, none of whom is named."""

    measures: dict[str, Measure] = Field(
        description="by patient: dice, sensitivity, precision, hd95_mm, surface_dice, volume_error"
    )
    lesions: LesionFigures
    ece: Probability = Field(description="expected calibration error")
    reliability: list[CalibrationPoint]
    robustness: dict[str, Measure] = Field(description="patient Dice after a change to the scans, by its title")
    subgroups: dict[str, dict[str, Measure]] = Field(description="patient Dice by group and its name")


class Comparison(Contract):
    """Two networks on the same patients; the difference is the first's mean patient Dice less the second's."""

    networks: tuple[str, str]
    patients: int
    difference: float
    interval: Interval
    p: Probability = Field(description="Wilcoxon's signed-rank test, two-sided")
    effect_size: float = Field(ge=-1, le=1, description="matched-pairs rank-biserial correlation")
    winner: str | None = Field(description="None where the difference may be chance")
    words: str


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

    model: str | None = Field(default=None, pattern="^[a-z0-9-]{1,64}$", description="None: the champion")
    threshold: Probability | None = Field(default=None, description="None: the model's own")

"""Results: lesions, their measurements and their location."""

from typing import Literal

from pydantic import Field

from metseg.contracts.base import DISCLAIMER, Contract, IdentifiedBy, Probability, Role, Structure
from metseg.contracts.review import ReviewStamp

OutlinedBy = Literal["model", "reader", "both"]
Int3 = tuple[int, int, int]
Float2 = tuple[float, float]
Float4 = tuple[float, float, float, float]


class NiftiGeometry(Contract):
    """The geometry in a NIfTI header, field by field, so that it can be written again bit by bit."""

    version: Literal[1, 2]
    dim: list[int] = Field(description="of the uploaded file, without its channels")
    pixdim: Float4 = Field(description="qfac and the sizes along the three axes")
    xyzt_units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, float, float]
    qoffset: tuple[float, float, float]
    srow: tuple[Float4, Float4, Float4]


class Grid(Contract):
    """How (slice, row, column) of a result maps to the voxels of the uploaded volume (`imaging.orientation`)."""

    axes: Int3 = Field(description="the volume's axes that slices, rows and columns run along")
    flipped: tuple[bool, bool, bool] = Field(description="whether slices, rows and columns run against their axis")
    shape: Int3 = Field(description="voxels along the volume's three axes")
    affine: tuple[Float4, Float4, Float4, Float4] | None = Field(
        description="from the volume's voxels to patient millimetres (RAS+); None if unknown"
    )
    nifti: NiftiGeometry | None = Field(default=None, description="of a NIfTI upload")


class Alignment(Contract):
    """How far a sequence was moved to be registered to the reference sequence."""

    role: Role
    moved_mm: float = Field(ge=0, description="of the middle of the volume")
    turned_degrees: float = Field(ge=0)


class IdentifiedSequence(Contract):
    """How it was decided which sequence an image of the upload is."""

    by: IdentifiedBy
    probability: Probability | None = Field(default=None, description="of the sequence, where the pixels decided")


class BoundingBox(Contract):
    """A half-open box in voxels: `first` is inside, `stop` is not."""

    first: tuple[int, int, int]
    stop: tuple[int, int, int]


class Diameters(Contract):
    """Where the diameters of a lesion run: the (row, column) of both ends, in pixels from the middle of the first."""

    longest_slice: int = Field(ge=0, description="index of the slice that both lie in")
    long: tuple[Float2, Float2]
    perpendicular: tuple[Float2, Float2]


class Lesion(Contract):
    """One 26-connected component of the core, or of the whole where no core is known; or several that a reader joined.

    Sizes in millimetres are None if the spacing is unknown.
    """

    number: int = Field(ge=1, description="1 is the largest")
    voxels: int = Field(ge=1)
    volume_mm3: float | None
    largest_slice: int = Field(ge=0, description="index of the slice with the largest area")
    largest_area_px: int = Field(ge=1)
    largest_area_mm2: float | None
    long_diameter_px: float = Field(description="largest in-plane Feret diameter")
    long_diameter_mm: float | None
    perpendicular_diameter_px: float
    perpendicular_diameter_mm: float | None
    diameters: Diameters
    box: BoundingBox
    centroid: tuple[float, float, float] = Field(description="slice, row, column")
    centroid_mm: tuple[float, float, float] | None = Field(
        default=None, description="to the right, front and top of the patient (RAS+); None if unknown"
    )
    peak: Int3 = Field(description="slice, row, column of its highest probability, by which a review refers to it")
    mean_probability: Probability
    lowest_probability: Probability
    target: bool = Field(
        default=False, description="a target lesion as defined by RANO-BM: proposed, or a reader's choice"
    )
    label: str | None = Field(default=None, description="what a reader calls it; never logged")
    outlined_by: OutlinedBy = Field(default="model", description="both: a reader changed what the model had outlined")
    surrounding_voxels: int | None = Field(
        default=None, ge=0, description="of the FLAIR abnormality around the core that is nearest to this lesion"
    )
    surrounding_volume_mm3: float | None = None
    uncertainty: Probability | None = Field(
        default=None, description="1 minus the agreement of mirrored predictions on its extent; None if not requested"
    )
    uncertainty_words: str | None = None


class SliceMeasurements(Contract):
    """The measurements of one slice."""

    index: int = Field(ge=0)
    name: str
    lesions: list[int] = Field(description="numbers of the lesions that touch this slice")
    area_px: int = Field(ge=0)
    area_mm2: float | None
    highest_probability: Probability


class OutOfDistribution(Contract):
    """How unlike the training data a study is."""

    score: float = Field(ge=0, description="in units of the card's limits, so that 1 is the limit; see docs/results.md")
    limit: float = Field(default=1, gt=0, description="beyond which a study counts as unlike")
    unlike: bool
    words: str


class StructureMeasurements(Contract):
    """A structure's mask, and the rule that made it from the probability map."""

    threshold: Probability
    seed_threshold: Probability = Field(description="components that do not reach it were removed")
    min_voxels: float = Field(ge=0, description="smaller components were removed")
    voxels: int = Field(ge=0)
    volume_mm3: float | None = Field(description="None if the spacing is unknown")


FINDINGS: dict[Structure, tuple[str, str]] = {
    "core": ("lesion", "lesions"),
    "whole": ("FLAIR abnormality", "FLAIR abnormalities"),
}
"""What a reader calls the lesions, one and several: without a known core it is no tumour that was outlined."""


class ResultSummary(Contract):
    """A result in one line of a list."""

    structure: Structure = Field(description="what the lesions are components of: the core, or else the whole")
    lesions: int = Field(ge=0)
    voxels: int = Field(ge=0, description="of all lesions")
    volume_mm3: float | None = Field(default=None, description="of all lesions; None if the spacing is unknown")
    reviewed: bool = Field(description="whether a reader's changes are in it")


class Result(Contract):
    """The result of a job."""

    job_id: str
    model_version: str
    network: str
    precision: Literal["fp32", "int8"] | None = Field(default=None, description="of the model")
    structure: Structure = Field(description="what the lesions are components of: the core, or else the whole")
    structures: dict[Structure, StructureMeasurements] = Field(description="all that were segmented")
    shape: tuple[int, int, int] = Field(description="slices, rows, columns as uploaded")
    spacing_mm: tuple[float, float, float] | None
    lesions: list[Lesion]
    target_diameter_sum_px: float | None = Field(
        default=None, description="of the target lesions' long diameters; None if there is none"
    )
    target_diameter_sum_mm: float | None = None
    familiarity: OutOfDistribution | None = Field(default=None, description="None if the model's card has no reference")
    uncertainty_words: str | None = Field(default=None, description="None if not requested")
    slices: list[SliceMeasurements]
    warnings: list[str]
    durations_s: dict[str, float] = Field(description="by phase: load, read, predict, know, report")
    sequences: dict[Role, str] = Field(default={}, description="the source of each channel, without identifiers")
    identified: dict[Role, IdentifiedSequence] = Field(
        default={}, description="the sequences of the upload, and what decided which is which"
    )
    alignment: list[Alignment] = Field(default=[], description="of the volumes that were registered")
    grid: Grid | None = Field(default=None, description="None if slices were uploaded, which have no other order")
    review: ReviewStamp | None = Field(
        default=None, description="whose changes are in it; None: the model's own answer"
    )
    rejected: list[Lesion] = Field(default=[], description="by a reader: they are in no mask and no other figure")
    dicom: bool = Field(default=False, description="whether there are a DICOM segmentation and a structured report")
    disclaimer: str = DISCLAIMER

    @property
    def finding(self) -> str:
        """What a reader calls one of the lesions."""
        return FINDINGS[self.structure][0]

    @property
    def findings(self) -> str:
        """The plural of `finding`."""
        return FINDINGS[self.structure][1]

    @property
    def summary(self) -> ResultSummary:
        """The result in one line of a list."""
        volume_mm3 = None if self.spacing_mm is None else sum(lesion.volume_mm3 or 0 for lesion in self.lesions)
        return ResultSummary(
            structure=self.structure,
            lesions=len(self.lesions),
            voxels=sum(lesion.voxels for lesion in self.lesions),
            volume_mm3=volume_mm3,
            reviewed=self.review is not None,
        )

    @property
    def threshold(self) -> float:
        """Of the lesions' mask."""
        return self.structures[self.structure].threshold

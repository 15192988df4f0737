"""Results: what was found, and where it lies."""

from typing import Literal

from pydantic import Field

from metseg.contracts.base import Contract, Probability, Role

Whole3 = tuple[int, int, int]
Row4 = tuple[float, float, float, float]


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
    """How (slice, row, column) of a result maps back to the voxels of the uploaded volume (`imaging.orientation`)."""

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

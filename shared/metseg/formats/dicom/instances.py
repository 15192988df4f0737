"""The header of one DICOM file: the kind of image, its acquisition, its frames and their positions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import UID

from metseg.errors import TooManyFiles, UnreadableImage, UnsupportedFormat
from metseg.formats.dicom.acquisition import PRIVATE_TAGS, Acquisition, read_acquisition, read_image_type
from metseg.formats.dicom.acquisition import TAGS as ACQUISITION_TAGS
from metseg.formats.dicom.evidence import weigh
from metseg.formats.dicom.header_values import (
    MIN_PIXEL_MM,
    DirectionCosines,
    Vector,
    as_orientation,
    as_position,
    as_spacing,
    check_plausible_mm,
    first_item,
    get_number,
    get_numbers,
    get_string,
)
from metseg.formats.dicom.safe_read import is_deflated, open_inflated, read_class, read_elements
from metseg.formats.limits import check_slice_pixels
from metseg.formats.study import StudyFile
from metseg.settings import Limits

__all__ = ["Frame", "Instance", "read_instance"]

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
}
TAGS: tuple[str | int, ...] = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate"),
    *("Modality", "SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "PixelRepresentation"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "BurnedInAnnotation"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(*ACQUISITION_TAGS, *PRIVATE_TAGS),
)
BITS_ALLOCATED = (8, 16, 32)


class Frame(NamedTuple):
    """One slice.

    Attributes:
        number: in the file, from 0.
        position: of the centre of its first pixel, in LPS+ millimetres; None where missing.
        orientation: the directions of rows and columns; None where missing.
        spacing_mm: between rows and columns; None where missing.
        thickness_mm: the distance between slices if known, else the thickness of the slice.
        slope: of stored values.
        intercept: added to them after `slope`.
        echo_ms: echo time; None where missing.
        image_type: what kind of image it is, as in `Acquisition`.
        b_value: of diffusion, in s/mm2; None where missing.
        repetition: echo, diffusion, acquisition, time and stack, by which frames at the same position differ.
    """

    number: int
    position: Vector | None
    orientation: DirectionCosines | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float
    echo_ms: float | None
    image_type: frozenset[str]
    b_value: float | None
    repetition: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Instance:
    """One MR image file, single frame or enhanced.

    Attributes:
        file: with its bytes.
        sop_class: of the image.
        uid: SOPInstanceUID, or empty.
        study: StudyInstanceUID, or empty.
        series: SeriesInstanceUID, or empty.
        patient: PatientID, birth date and sex, each empty where missing; only compared.
        issuer: of the PatientID, or empty.
        study_date: as written, or empty.
        frame_of_reference: or empty.
        series_number: or 0.
        number: InstanceNumber, or 0.
        rows: of each frame.
        columns: of each frame.
        frames: in the file's order.
        acquisition: of the sequence.
        inverted: whether large values are dark (MONOCHROME1).
        bits: of a stored value.
        signed: whether stored values have a sign.
        syntax: the transfer syntax.
    """

    file: StudyFile
    sop_class: str
    uid: str
    study: str
    series: str
    patient: tuple[str, str, str]
    issuer: str
    study_date: str
    frame_of_reference: str
    series_number: int
    number: int
    rows: int
    columns: int
    frames: tuple[Frame, ...]
    acquisition: Acquisition
    inverted: bool
    bits: int
    signed: bool
    syntax: UID


def read_instance(file: StudyFile, limits: Limits) -> Instance | str:
    """Read one file's header.

    Args:
        file: a DICOM file.
        limits: of one submission.

    Returns:
        The instance; for a file that is not an MR image, or one that no model uses, the name of its kind.

    Raises:
        UnreadableImage: the header is damaged, or lacks what an image needs.
        UnsupportedFormat: an MR image with an unsupported number of bits.
        ImageTooLarge: a frame has more pixels than allowed.
        TooManyFiles: there are more frames than slices allowed.
    """
    with file.open() as stream:
        kind = _other_kind(read_class(stream))
        if kind is not None:
            return kind
        if is_deflated(stream):
            return read_instance(file._replace(open=partial(_open_inflated, file)), limits)
        dataset = read_elements(stream, TAGS)
        kind = _unused_kind(dataset, limits)
        if kind is not None:
            return kind
        rows, columns, frames = _layout(dataset, limits)
        return Instance(
            file=file,
            sop_class=get_string(dataset, "SOPClassUID"),
            uid=get_string(dataset, "SOPInstanceUID"),
            study=get_string(dataset, "StudyInstanceUID"),
            series=get_string(dataset, "SeriesInstanceUID"),
            patient=_patient(dataset),
            issuer=get_string(dataset, "IssuerOfPatientID").casefold(),
            study_date=get_string(dataset, "StudyDate"),
            frame_of_reference=get_string(dataset, "FrameOfReferenceUID"),
            series_number=int(get_number(dataset, "SeriesNumber") or 0),
            number=int(get_number(dataset, "InstanceNumber") or 0),
            rows=rows,
            columns=columns,
            frames=tuple(_frames(dataset, frames)),
            acquisition=read_acquisition(dataset),
            inverted=get_string(dataset, "PhotometricInterpretation") == "MONOCHROME1",
            bits=int(get_number(dataset, "BitsAllocated") or 0),
            signed=bool(get_number(dataset, "PixelRepresentation")),
            syntax=UID(str(dataset.file_meta.TransferSyntaxUID)),
        )


@contextmanager
def _open_inflated(file: StudyFile) -> Iterator[BinaryIO]:
    with file.open() as stream, open_inflated(stream) as inflated:
        yield inflated


def _other_kind(class_uid: str) -> str | None:
    """The name of the kind of a file that is not an MR image."""
    sop_class = UID(class_uid)
    if sop_class in MR_CLASSES:
        return None
    known = sop_class.name if sop_class.is_valid and sop_class.name != str(sop_class) else ""
    return known.removesuffix(" Storage") or "an object of no known kind"


def _unused_kind(dataset: Dataset, limits: Limits) -> str | None:
    """The name of a kind of MR image that no model uses, which must not end a study that has others."""
    photometric = get_string(dataset, "PhotometricInterpretation")
    if int(get_number(dataset, "SamplesPerPixel") or 1) != 1 or photometric == "PALETTE COLOR":
        return "MR Image in colour"
    frames = int(get_number(dataset, "NumberOfFrames") or 1)
    if frames > limits.slices and weigh(read_acquisition(dataset)).weighting == "other":
        return f"MR Image of {frames} frames and another weighting"
    return None


def _patient(dataset: Dataset) -> tuple[str, str, str]:
    sex = get_string(dataset, "PatientSex").upper()
    birth_date = get_string(dataset, "PatientBirthDate")
    return get_string(dataset, "PatientID").casefold(), birth_date, sex if sex in ("F", "M") else ""


def _layout(dataset: Dataset, limits: Limits) -> tuple[int, int, int]:
    """Rows, columns and frames, if they are allowed."""
    rows, columns = int(get_number(dataset, "Rows") or 0), int(get_number(dataset, "Columns") or 0)
    frames = int(get_number(dataset, "NumberOfFrames") or 1)
    if rows < 1 or columns < 1 or frames < 1:
        raise UnreadableImage("A DICOM file has no image size (Rows, Columns); export it again.")
    check_slice_pixels(rows, columns, limits)
    if frames > limits.slices:
        raise TooManyFiles(f"A file has {frames} frames, {limits.slices} are allowed; submit one series at a time.")
    if int(get_number(dataset, "BitsAllocated") or 0) not in BITS_ALLOCATED:
        raise UnsupportedFormat("An MR image has a depth other than 8, 16 or 32 bits; export it again.")
    return rows, columns, frames


def _frames(dataset: Dataset, count: int) -> Iterator[Frame]:
    per_frame: Sequence[Dataset] = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    if per_frame and len(per_frame) != count:
        raise UnreadableImage("A DICOM file declares another number of frames than it describes; export it again.")
    for index in range(count):
        yield _frame(index, (per_frame[index] if per_frame else Dataset(), shared, dataset))


def _frame(index: int, groups: tuple[Dataset, Dataset, Dataset]) -> Frame:
    def of(macro: str) -> Dataset:
        """The item of a functional group, of this frame or shared; the data set itself in single-frame MR."""
        own, shared, whole = groups
        return first_item(own, macro) or first_item(shared, macro) or whole

    measures, values = of("PixelMeasuresSequence"), of("PixelValueTransformationSequence")
    content = of("FrameContentSequence")
    distances = (get_number(measures, "SpacingBetweenSlices"), get_number(measures, "SliceThickness"))
    slope = get_number(values, "RescaleSlope")
    echo_ms = get_number(of("MREchoSequence"), "EffectiveEchoTime") or get_number(groups[2], "EchoTime")
    b_value = get_number(of("MRDiffusionSequence"), "DiffusionBValue")
    thickness = next((abs(each) for each in distances if each and abs(each) >= MIN_PIXEL_MM), None)
    check_plausible_mm([thickness or 0.0])
    return Frame(
        number=index,
        position=as_position(get_numbers(of("PlanePositionSequence"), "ImagePositionPatient", 3)),
        orientation=as_orientation(get_numbers(of("PlaneOrientationSequence"), "ImageOrientationPatient", 6)),
        spacing_mm=as_spacing(get_numbers(measures, "PixelSpacing", 2)),
        thickness_mm=thickness,
        slope=1.0 if slope is None else slope,
        intercept=get_number(values, "RescaleIntercept") or 0.0,
        echo_ms=echo_ms,
        image_type=read_image_type(groups[2], of("MRImageFrameTypeSequence")),
        b_value=b_value,
        repetition=(
            str(echo_ms),
            str(b_value),
            get_string(groups[2], "AcquisitionNumber"),
            get_string(content, "TemporalPositionIndex") or get_string(groups[2], "TemporalPositionIdentifier"),
            get_string(content, "StackID"),
        ),
    )

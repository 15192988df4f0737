"""What one DICOM file tells in its header: what kind of image it is, its frames and where each lies in the patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from metseg.errors import TooManyFiles, UnreadableImage, UnsupportedFormat
from metseg.formats.dicom.header_values import (
    Six,
    Three,
    check_near,
    item,
    number,
    numbers,
    six,
    text,
    texts,
    three,
    two,
)
from metseg.formats.dicom.safe_read import header, legible
from metseg.formats.limits import check_slice_pixels
from metseg.formats.study import File
from metseg.settings import Limits

__all__ = ["Frame", "Instance", "Traits", "read_instance", "traits_of"]

MR = {
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
}
TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("Modality", "SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "ImageType"),
    *("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "ScanningSequence"),
    *("RepetitionTime", "EchoTime", "InversionTime", "ContrastBolusAgent", "ContrastBolusAgentSequence"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "BurnedInAnnotation"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "InversionRecovery"),
)
DEPTHS = (8, 16, 32)


class Frame(NamedTuple):
    """One slice.

    Attributes:
        number: in the file, from 0.
        position: of its first pixel's middle in LPS+ millimetres; None where it is not told.
        orientation: the directions in which columns and rows grow; None where it is not told.
        spacing_mm: between rows and columns; None where it is not told.
        thickness_mm: of the slice, or between slices where that is told.
        slope: of stored values.
        intercept: added to them after `slope`.
        echo_ms: echo time; None where it is not told.
        turn: what tells it apart from other frames of its series at the same place: echo, acquisition, time.
    """

    number: int
    position: Three | None
    orientation: Six | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float
    echo_ms: float | None
    turn: tuple[str, ...]


class Traits(NamedTuple):
    """What tells a sequence's role.

    Attributes:
        scanning: of ScanningSequence, or its equivalent in enhanced MR: `SE`, `IR`, `GR`, `EP`.
        sequence: its name by the vendor, lower case.
        repetition_ms: or None.
        echo_ms: or None.
        inversion_ms: or None.
        contrast: whether a contrast agent is named.
        image_type: the values, upper case.
        words: series description and protocol name, lower case. They may hold anything, so they are never told.
    """

    scanning: frozenset[str]
    sequence: str
    repetition_ms: float | None
    echo_ms: float | None
    inversion_ms: float | None
    contrast: bool
    image_type: frozenset[str]
    words: str


@dataclass(frozen=True, eq=False)
class Instance:
    """One MR image file, single frame or enhanced.

    Attributes:
        file: where its bytes are.
        sop_class: of the image.
        uid: SOPInstanceUID, or empty.
        study: StudyInstanceUID, or empty.
        series: SeriesInstanceUID, or empty.
        patient: PatientID, or empty; only ever compared.
        frame_of_reference: or empty.
        series_number: or 0.
        number: InstanceNumber, or 0.
        rows: of each frame.
        columns: of each frame.
        frames: in the file's order.
        traits: of the sequence.
        inverted: whether large values are dark (MONOCHROME1).
        syntax: the transfer syntax.
    """

    file: File
    sop_class: str
    uid: str
    study: str
    series: str
    patient: str
    frame_of_reference: str
    series_number: int
    number: int
    rows: int
    columns: int
    frames: tuple[Frame, ...]
    traits: Traits
    inverted: bool
    syntax: UID


def read_instance(file: File, limits: Limits) -> Instance | str:
    """One file by its header; what it is instead, in a word, where it is no MR image.

    Raises:
        UnreadableImage: the header is damaged, or lacks what an image needs.
        UnsupportedFormat: an MR image in colour or of a depth that no scanner writes.
        ImageTooLarge: a frame has more pixels than allowed.
        TooManyFiles: there are more frames than slices are allowed.
    """
    with file.open() as stream, legible():
        found = header(stream, TAGS)
        kind = _other_kind(found)
        if kind is not None:
            return kind
        rows, columns, frames = _layout(found, limits)
        return Instance(
            file=file,
            sop_class=text(found, "SOPClassUID"),
            uid=text(found, "SOPInstanceUID"),
            study=text(found, "StudyInstanceUID"),
            series=text(found, "SeriesInstanceUID"),
            patient=text(found, "PatientID"),
            frame_of_reference=text(found, "FrameOfReferenceUID"),
            series_number=int(number(found, "SeriesNumber") or 0),
            number=int(number(found, "InstanceNumber") or 0),
            rows=rows,
            columns=columns,
            frames=tuple(_frames(found, frames)),
            traits=traits_of(found),
            inverted=text(found, "PhotometricInterpretation") == "MONOCHROME1",
            syntax=UID(str(found.file_meta.TransferSyntaxUID)),
        )


def _other_kind(found: FileDataset) -> str | None:
    """What this is, where it is no MR image."""
    meta = Dataset() if found.get("SOPClassUID") else found.file_meta  # a DICOMDIR tells its class there alone
    sop_class = UID(text(found, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"))
    if sop_class in MR:
        return None
    known = sop_class.name if sop_class.is_valid and sop_class.name != str(sop_class) else ""
    return known.removesuffix(" Storage") or "an object of no known kind"


def _layout(found: Dataset, limits: Limits) -> tuple[int, int, int]:
    """Rows, columns and frames, where they are allowed."""
    rows, columns = int(number(found, "Rows") or 0), int(number(found, "Columns") or 0)
    frames = int(number(found, "NumberOfFrames") or 1)
    if rows < 1 or columns < 1 or frames < 1:
        raise UnreadableImage("A DICOM file tells no size of its image; export it again.")
    check_slice_pixels(rows, columns, limits)
    if frames > limits.slices:
        raise TooManyFiles(f"A file has {frames} frames, {limits.slices} are allowed; submit one series at a time.")
    if int(number(found, "SamplesPerPixel") or 1) != 1:
        raise UnsupportedFormat("An MR image is in colour; send the images as the scanner made them.")
    if int(number(found, "BitsAllocated") or 0) not in DEPTHS:
        raise UnsupportedFormat("An MR image has a depth other than 8, 16 or 32 bits; export it again.")
    return rows, columns, frames


def _frames(found: Dataset, count: int) -> Iterator[Frame]:
    per_frame: Sequence[Dataset] = found.get("PerFrameFunctionalGroupsSequence") or []
    shared = (found.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    if per_frame and len(per_frame) != count:
        raise UnreadableImage("A DICOM file tells another number of frames than it describes; export it again.")
    for index in range(count):
        yield _frame(index, (per_frame[index] if per_frame else Dataset(), shared, found))


def _frame(index: int, groups: tuple[Dataset, Dataset, Dataset]) -> Frame:
    def of(macro: str) -> Dataset:
        """The item of a functional group, of the frame or of all frames; the data set itself in single-frame MR."""
        own, shared, whole = groups
        return item(own, macro) or item(shared, macro) or whole

    measures, values = of("PixelMeasuresSequence"), of("PixelValueTransformationSequence")
    content = of("FrameContentSequence")
    apart = (number(measures, "SpacingBetweenSlices"), number(measures, "SliceThickness"))
    slope = number(values, "RescaleSlope")
    echo_ms = number(of("MREchoSequence"), "EffectiveEchoTime") or number(groups[2], "EchoTime")
    thickness = next((abs(each) for each in apart if each), None)
    check_near([thickness or 0.0])
    return Frame(
        number=index,
        position=three(numbers(of("PlanePositionSequence"), "ImagePositionPatient", 3)),
        orientation=six(numbers(of("PlaneOrientationSequence"), "ImageOrientationPatient", 6)),
        spacing_mm=two(numbers(measures, "PixelSpacing", 2)),
        thickness_mm=thickness,
        slope=1.0 if slope is None else slope,
        intercept=number(values, "RescaleIntercept") or 0.0,
        echo_ms=echo_ms,
        turn=(
            str(echo_ms),
            text(groups[2], "AcquisitionNumber"),
            text(content, "TemporalPositionIndex") or text(groups[2], "TemporalPositionIdentifier"),
            text(content, "StackID"),
        ),
    )


def traits_of(found: Dataset) -> Traits:
    """What the header tells of the sequence; to be called within `legible`."""
    shared = (found.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    first = (found.get("PerFrameFunctionalGroupsSequence") or [Dataset()])[0]

    def of(macro: str) -> Dataset:
        return item(first, macro) or item(shared, macro) or Dataset()

    timing, echo, modifier = of("MRTimingAndRelatedParametersSequence"), of("MREchoSequence"), of("MRModifierSequence")
    inversion = next(iter(numbers(modifier, "InversionTimes") or []), None)
    scanning = {each.upper() for each in texts(found, "ScanningSequence")}
    if text(modifier, "InversionRecovery").upper() == "YES":
        scanning.add("IR")
    agents = found.get("ContrastBolusAgentSequence") or []
    words = (text(found, "SeriesDescription"), text(found, "ProtocolName"))
    return Traits(
        scanning=frozenset(scanning),
        sequence=(text(found, "SequenceName") or text(found, "PulseSequenceName")).lower(),
        repetition_ms=number(timing, "RepetitionTime") or number(found, "RepetitionTime"),
        echo_ms=number(echo, "EffectiveEchoTime") or number(found, "EchoTime"),
        inversion_ms=inversion or number(found, "InversionTime") or None,
        contrast=bool(agents) or text(found, "ContrastBolusAgent").upper() not in ("", "NONE", "NO"),
        image_type=frozenset(each.upper() for each in texts(found, "ImageType")),
        words=" ".join(words).lower(),
    )

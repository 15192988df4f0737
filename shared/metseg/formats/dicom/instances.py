"""What one DICOM file tells in its header: what kind of image it is, its frames and where each lies in the patient."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from metseg.errors import TooManyFiles, UnreadableImage, UnsupportedFormat
from metseg.formats.dicom.legible import header, legible
from metseg.formats.sizes import check_slice_pixels
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
FURTHEST_MM = 1e5
Three = tuple[float, float, float]
Six = tuple[float, float, float, float, float, float]


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
            sop_class=_text(found, "SOPClassUID"),
            uid=_text(found, "SOPInstanceUID"),
            study=_text(found, "StudyInstanceUID"),
            series=_text(found, "SeriesInstanceUID"),
            patient=_text(found, "PatientID"),
            frame_of_reference=_text(found, "FrameOfReferenceUID"),
            series_number=int(_number(found, "SeriesNumber") or 0),
            number=int(_number(found, "InstanceNumber") or 0),
            rows=rows,
            columns=columns,
            frames=tuple(_frames(found, frames)),
            traits=traits_of(found),
            inverted=_text(found, "PhotometricInterpretation") == "MONOCHROME1",
            syntax=UID(str(found.file_meta.TransferSyntaxUID)),
        )


def _other_kind(found: FileDataset) -> str | None:
    """What this is, where it is no MR image."""
    meta = Dataset() if found.get("SOPClassUID") else found.file_meta  # a DICOMDIR tells its class there alone
    sop_class = UID(_text(found, "SOPClassUID") or _text(meta, "MediaStorageSOPClassUID"))
    if sop_class in MR:
        return None
    known = sop_class.name if sop_class.is_valid and sop_class.name != str(sop_class) else ""
    return known.removesuffix(" Storage") or "an object of no known kind"


def _layout(found: Dataset, limits: Limits) -> tuple[int, int, int]:
    """Rows, columns and frames, where they are allowed."""
    rows, columns = int(_number(found, "Rows") or 0), int(_number(found, "Columns") or 0)
    frames = int(_number(found, "NumberOfFrames") or 1)
    if rows < 1 or columns < 1 or frames < 1:
        raise UnreadableImage("A DICOM file tells no size of its image; export it again.")
    check_slice_pixels(rows, columns, limits)
    if frames > limits.slices:
        raise TooManyFiles(f"A file has {frames} frames, {limits.slices} are allowed; submit one series at a time.")
    if int(_number(found, "SamplesPerPixel") or 1) != 1:
        raise UnsupportedFormat("An MR image is in colour; send the images as the scanner made them.")
    if int(_number(found, "BitsAllocated") or 0) not in DEPTHS:
        raise UnsupportedFormat("An MR image has a depth other than 8, 16 or 32 bits; export it again.")
    return rows, columns, frames


def _frames(found: Dataset, count: int) -> Iterator[Frame]:
    per_frame: Sequence[Dataset] = found.get("PerFrameFunctionalGroupsSequence") or []
    shared = (found.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    if per_frame and len(per_frame) != count:
        raise UnreadableImage("A DICOM file tells another number of frames than it describes; export it again.")
    for number in range(count):
        yield _frame(number, (per_frame[number] if per_frame else Dataset(), shared, found))


def _frame(number: int, groups: tuple[Dataset, Dataset, Dataset]) -> Frame:
    def of(macro: str) -> Dataset:
        """The item of a functional group, of the frame or of all frames; the data set itself in single-frame MR."""
        own, shared, whole = groups
        return _item(own, macro) or _item(shared, macro) or whole

    measures, values = of("PixelMeasuresSequence"), of("PixelValueTransformationSequence")
    content = of("FrameContentSequence")
    apart = (_number(measures, "SpacingBetweenSlices"), _number(measures, "SliceThickness"))
    slope = _number(values, "RescaleSlope")
    echo_ms = _number(of("MREchoSequence"), "EffectiveEchoTime") or _number(groups[2], "EchoTime")
    thickness = next((abs(each) for each in apart if each), None)
    _check_near([thickness or 0.0])
    return Frame(
        number=number,
        position=_three(_numbers(of("PlanePositionSequence"), "ImagePositionPatient", 3)),
        orientation=_six(_numbers(of("PlaneOrientationSequence"), "ImageOrientationPatient", 6)),
        spacing_mm=_two(_numbers(measures, "PixelSpacing", 2)),
        thickness_mm=thickness,
        slope=1.0 if slope is None else slope,
        intercept=_number(values, "RescaleIntercept") or 0.0,
        echo_ms=echo_ms,
        turn=(
            str(echo_ms),
            _text(groups[2], "AcquisitionNumber"),
            _text(content, "TemporalPositionIndex") or _text(groups[2], "TemporalPositionIdentifier"),
            _text(content, "StackID"),
        ),
    )


def traits_of(found: Dataset) -> Traits:
    """What the header tells of the sequence; to be called within `legible`."""
    shared = (found.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    first = (found.get("PerFrameFunctionalGroupsSequence") or [Dataset()])[0]

    def of(macro: str) -> Dataset:
        return _item(first, macro) or _item(shared, macro) or Dataset()

    timing, echo, modifier = of("MRTimingAndRelatedParametersSequence"), of("MREchoSequence"), of("MRModifierSequence")
    inversion = next(iter(_numbers(modifier, "InversionTimes") or []), None)
    scanning = {each.upper() for each in _texts(found, "ScanningSequence")}
    if _text(modifier, "InversionRecovery").upper() == "YES":
        scanning.add("IR")
    agents = found.get("ContrastBolusAgentSequence") or []
    words = (_text(found, "SeriesDescription"), _text(found, "ProtocolName"))
    return Traits(
        scanning=frozenset(scanning),
        sequence=(_text(found, "SequenceName") or _text(found, "PulseSequenceName")).lower(),
        repetition_ms=_number(timing, "RepetitionTime") or _number(found, "RepetitionTime"),
        echo_ms=_number(echo, "EffectiveEchoTime") or _number(found, "EchoTime"),
        inversion_ms=inversion or _number(found, "InversionTime") or None,
        contrast=bool(agents) or _text(found, "ContrastBolusAgent").upper() not in ("", "NONE", "NO"),
        image_type=frozenset(each.upper() for each in _texts(found, "ImageType")),
        words=" ".join(words).lower(),
    )


def _item(group: Dataset, macro: str) -> Dataset | None:
    items = group.get(macro)
    return items[0] if items else None


def _values(found: Dataset, keyword: str) -> list[Any]:
    value = found.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if not isinstance(value, str) and hasattr(value, "__iter__") else [value]


def _texts(found: Dataset, keyword: str) -> list[str]:
    return [str(value).strip() for value in _values(found, keyword)]


def _text(found: Dataset, keyword: str) -> str:
    return next(iter(_texts(found, keyword)), "")


def _numbers(found: Dataset, keyword: str, count: int | None = None) -> list[float] | None:
    """The numbers of an element; None where it is missing or has fewer or more.

    Raises:
        UnreadableImage: one of them is infinite or none.
    """
    numbers = [float(value) for value in _values(found, keyword)]
    if not all(map(math.isfinite, numbers)):
        raise UnreadableImage("A DICOM header holds a number that is infinite or none; export the file again.")
    return None if not numbers or (count is not None and len(numbers) != count) else numbers


def _number(found: Dataset, keyword: str) -> float | None:
    return next(iter(_numbers(found, keyword) or []), None)


def _two(numbers: list[float] | None) -> tuple[float, float] | None:
    if numbers is None or min(numbers) <= 0:
        return None
    _check_near(numbers)
    return numbers[0], numbers[1]


def _three(numbers: list[float] | None) -> Three | None:
    if numbers is None:
        return None
    _check_near(numbers)
    return numbers[0], numbers[1], numbers[2]


def _check_near(numbers: list[float]) -> None:
    """Refuse places and sizes that lie outside any scanner, before they are computed with."""
    if max(map(abs, numbers)) > FURTHEST_MM:
        raise UnreadableImage("A DICOM header tells a place or a size that no scanner has; export the file again.")


def _six(numbers: list[float] | None) -> Six | None:
    """Two unit vectors at a right angle, or None."""
    if numbers is None:
        return None
    columns, rows = numbers[:3], numbers[3:]
    along = sum(one * other for one, other in zip(columns, rows, strict=True))
    if abs(along) > 0.01 or any(abs(math.hypot(*each) - 1) > 0.01 for each in (columns, rows)):
        return None
    return (*columns, *rows)  # type: ignore[return-value]

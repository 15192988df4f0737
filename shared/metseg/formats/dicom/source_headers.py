"""The headers of a study's images, kept so that results can be written under its identifiers."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import DA, TM

from metseg.formats.dicom.safe_read import read_elements
from metseg.formats.dicom.stacks import Stack

__all__ = ["SourceImages", "read_source_images"]

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
EMPTY_IF_MISSING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
COPIED = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID", "PatientAge", "PatientSize"),
    *("PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyDescription", "Modality", "Rows", "Columns", "NumberOfFrames", "PositionReferenceIndicator"),
    *("BurnedInAnnotation", "RecognizableVisualFeatures"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
SEXES = ("M", "F", "O")
UTF8 = "ISO_IR 192"


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The source images of a result.

    Attributes:
        headers: of each file, in the order of slices; of an enhanced file one, reduced to the frames of the stack.
        numbers: the frame of an enhanced file that each slice is, from 1; None where slices are files.
        indices: of these slices in the volume, which fills gaps between them.
    """

    headers: tuple[Dataset, ...]
    numbers: tuple[int, ...] | None
    indices: tuple[int, ...]


def read_source_images(stack: Stack) -> SourceImages | None:
    """Read the source images of a stack; None where they lack what the standard needs to refer to them.

    Raises:
        UnreadableImage: a header is damaged.
    """
    if stack.affine is None:
        return None
    files = list(dict.fromkeys(member.instance for member in stack.members))
    if len(files) > 1 and len(files) < len(stack.members):
        return None  # several enhanced files make up the stack: there is no single series of frames to refer to
    headers = []
    for instance in files:
        with instance.file.open() as stream:
            dataset = _complete(read_elements(stream, (*REQUIRED, *EMPTY_IF_MISSING, *COPIED)))
            if dataset is None:
                return None
            if dataset.get("PerFrameFunctionalGroupsSequence"):
                _keep_frames(dataset, [member.frame.number for member in stack.members])
        headers.append(dataset)
    enhanced = "PerFrameFunctionalGroupsSequence" in headers[0]
    numbers = tuple(member.frame.number + 1 for member in stack.members) if enhanced else None
    return SourceImages(tuple(headers), numbers, stack.indices)


def _keep_frames(dataset: Dataset, frames: Sequence[int]) -> None:
    """Reduce an enhanced header to some of its frames, which then share their plane."""
    groups = [dataset.PerFrameFunctionalGroupsSequence[frame] for frame in frames]
    if not dataset.get("SharedFunctionalGroupsSequence"):
        dataset.SharedFunctionalGroupsSequence = Items([Dataset()])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared and keyword in groups[0]:
            setattr(shared, keyword, groups[0][keyword].value)
    dataset.PerFrameFunctionalGroupsSequence = Items(groups)
    dataset.NumberOfFrames = len(groups)


def _complete(dataset: Dataset) -> Dataset | None:
    """The header with everything that a result copies; values that break the standard are emptied."""
    if not all(str(dataset.get(keyword) or "") for keyword in REQUIRED):
        return None
    _convert_to_utf8(dataset)
    for keyword in EMPTY_IF_MISSING:
        if dataset.get(keyword) is None:
            setattr(dataset, keyword, "")
    if dataset.PatientSex not in SEXES:
        dataset.PatientSex = ""
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(dataset.get(keyword)))
        except ValueError:
            setattr(dataset, keyword, "")
    return dataset


def _convert_to_utf8(dataset: Dataset) -> None:
    """Results are in UTF-8: highdicom accepts only some of the character sets that the standard allows."""
    dataset.decode()
    for keyword in ("PatientName", "ReferringPhysicianName"):
        setattr(dataset, keyword, str(dataset.get(keyword) or ""))  # a PersonName would keep its encoding
    dataset.SpecificCharacterSet = UTF8

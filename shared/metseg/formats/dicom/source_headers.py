"""What the headers of a study keep for results to be written back under its own identifiers."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import DA, TM

from metseg.formats.dicom.safe_read import header, legible
from metseg.formats.dicom.stacks import Stack

__all__ = ["Origin", "origin_of"]

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
EMPTY_IF_MISSING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
COPIED = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID", "PatientAge", "PatientSize"),
    *("PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyDescription", "Modality", "Rows", "Columns", "NumberOfFrames", "PositionReferenceIndicator"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
SEXES = ("M", "F", "O")


@dataclass(frozen=True, eq=False)
class Origin:
    """The source images of a result.

    Attributes:
        headers: of each file, in the order of slices; of an enhanced file one, which describes their frames alone.
        numbers: which frame of an enhanced file each slice is, from 1; None where slices are files.
    """

    headers: tuple[Dataset, ...]
    numbers: tuple[int, ...] | None


def origin_of(stack: Stack) -> Origin | None:
    """The source images of a stack; None where they lack what the standard needs in order to refer to them.

    Raises:
        UnreadableImage: a header is damaged.
    """
    if stack.affine is None:
        return None
    files = list(dict.fromkeys(member.instance for member in stack.members))
    if len(files) > 1 and len(files) < len(stack.members):
        return None  # several enhanced files make up the stack: no one series of frames to refer to
    headers = []
    for instance in files:
        with instance.file.open() as stream, legible():
            found = _complete(header(stream, (*NEEDED, *EMPTY_IF_MISSING, *COPIED)))
            if found is None:
                return None
            if found.get("PerFrameFunctionalGroupsSequence"):
                _keep_frames(found, [member.frame.number for member in stack.members])
        headers.append(found)
    enhanced = "PerFrameFunctionalGroupsSequence" in headers[0]
    numbers = tuple(member.frame.number + 1 for member in stack.members) if enhanced else None
    return Origin(tuple(headers), numbers)


def _keep_frames(found: Dataset, frames: Sequence[int]) -> None:
    """Let an enhanced header describe some of its frames alone, whose plane is then one that they share."""
    groups = [found.PerFrameFunctionalGroupsSequence[frame] for frame in frames]
    shared = found.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared:
            setattr(shared, keyword, groups[0][keyword].value)
    found.PerFrameFunctionalGroupsSequence = Items(groups)
    found.NumberOfFrames = len(groups)


def _complete(found: Dataset) -> Dataset | None:
    """The header with all that a result copies, values that break the standard emptied."""
    if not all(str(found.get(keyword) or "") for keyword in NEEDED):
        return None
    for keyword in EMPTY_IF_MISSING:
        if found.get(keyword) is None:
            setattr(found, keyword, "")
    if found.PatientSex not in SEXES:
        found.PatientSex = ""
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(found.get(keyword)))
        except ValueError:
            setattr(found, keyword, "")
    return found

"""What the headers of a study keep for results to be written back under its own identifiers."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from metseg.formats.dicom.legible import header, legible
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
        headers: of each file, in the order of frames; of one file where it is enhanced.
        frames: which frame of all files each slice of the stack is, from 0.
        frames_in_all: how many frames the files have in all.
    """

    headers: tuple[Dataset, ...]
    frames: tuple[int, ...]
    frames_in_all: int


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
        headers.append(found)
    if len(files) > 1:
        return Origin(tuple(headers), tuple(range(len(files))), len(files))
    frames = tuple(member.frame.number for member in stack.members)
    return Origin(tuple(headers), frames, len(files[0].frames))


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

"""Phantom studies as DICOM: series as a scanner writes them, of a head that nobody has.

File names and instance numbers say nothing of the order of slices, on purpose: positions do.
"""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from metseg.contracts import Role
from metseg.formats.dicom.uids import make_uid
from metseg.phantom.scan import Phantom

__all__ = ["SEQUENCES", "Scanned", "enhanced_file", "series_files", "study_files"]

Affine = npt.NDArray[np.float64]
Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Scanned:
    """What a series tells of itself.

    Attributes:
        number: of the series.
        description: free text.
        echo_ms: echo time.
        repetition_ms: repetition time.
        inversion_ms: inversion time; None where nothing is inverted.
        scanning: the values of ScanningSequence.
        contrast: the agent, or empty.
        patient: name and identifier.
        study: a word from which study's UIDs are made.
        more: elements by keyword that are added or replaced.
    """

    number: int = 1
    description: str = ""
    echo_ms: float = 90.0
    repetition_ms: float = 9000.0
    inversion_ms: float | None = None
    scanning: tuple[str, ...] = ("SE",)
    contrast: str = ""
    patient: tuple[str, str] = ("Phantom^Procedural", "PHANTOM-1")
    study: str = "study"
    more: dict[str, Any] = field(default_factory=dict)


SEQUENCES: dict[Role, Scanned] = {
    "pre": Scanned(number=2, description="T1 axial", echo_ms=12, repetition_ms=550),
    "flair": Scanned(
        number=3,
        description="FLAIR axial",
        echo_ms=120,
        repetition_ms=9000,
        inversion_ms=2500,
        scanning=("SE", "IR"),
    ),
    "post": Scanned(number=4, description="T1 axial Gd", echo_ms=12, repetition_ms=550, contrast="Gadobutrol"),
}


def study_files(phantom: Phantom, study: str = "study") -> dict[str, bytes]:
    """The three series of a phantom, each slice a file, by names that tell no order.

    Args:
        phantom: with an affine.
        study: a word from which the UIDs are made; equal arguments give equal files.
    """
    files: dict[str, bytes] = {}
    for channel, scanned in enumerate(SEQUENCES.values()):
        pixels = phantom.volume.pixels[..., channel].astype(np.uint16) * 16
        told = Scanned(**{**vars(scanned), "study": study})
        files |= series_files(pixels, _affine(phantom), told)
    return files


def series_files(pixels: Pixels, affine: Affine, scanned: Scanned) -> dict[str, bytes]:
    """One series, a slice a file.

    Args:
        pixels: uint16 or int16, (slice, row, column).
        affine: from (column, row, slice) to RAS+ millimetres; any rotation and any handedness.
        scanned: what it tells of itself.
    """
    series = make_uid(scanned.study, scanned.number)
    files = {}
    for index, picture in enumerate(pixels):
        name = hashlib.sha256(f"{series}{index}".encode()).hexdigest()[:12]
        image = _image(picture, affine, scanned)
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, make_uid(scanned.study, scanned.number, index + 1)
        image.InstanceNumber = int(name[:3], 16)
        image.ImagePositionPatient = _rounded(_lps(affine @ (0, 0, index, 1))[:3])
        image.ImageOrientationPatient = _directions(affine)
        image.PixelSpacing = _in_plane(affine)
        image.SliceThickness = _rounded([float(np.linalg.norm(affine[:3, 2]))])[0]
        files[f"{name}.dcm"] = _bytes(image, picture, scanned)
    return files


def enhanced_file(pixels: Pixels, affine: Affine, scanned: Scanned, order: list[int] | None = None) -> bytes:
    """One series as an enhanced multi-frame file; `order` tells which slice each frame is."""
    order = list(range(len(pixels))) if order is None else order
    picture = np.ascontiguousarray(pixels[order])
    image = _image(picture[0], affine, scanned)
    for keyword in ("EchoTime", "RepetitionTime", "InversionTime", "ScanningSequence"):
        if keyword in image:
            delattr(image, keyword)
    image.SOPClassUID, image.SOPInstanceUID = EnhancedMRImageStorage, make_uid(scanned.study, scanned.number, 1)
    image.NumberOfFrames, image.InstanceNumber = len(order), 1
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([_of(ImageOrientationPatient=_directions(affine))])
    thickness = _rounded([float(np.linalg.norm(affine[:3, 2]))])[0]
    shared.PixelMeasuresSequence = Items([_of(PixelSpacing=_in_plane(affine), SliceThickness=thickness)])
    shared.PixelValueTransformationSequence = Items([_of(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")])
    shared.MRTimingAndRelatedParametersSequence = Items([_of(RepetitionTime=scanned.repetition_ms)])
    shared.MREchoSequence = Items([_of(EffectiveEchoTime=scanned.echo_ms)])
    if scanned.inversion_ms is not None:
        modifier = _of(InversionRecovery="YES", InversionTimes=[scanned.inversion_ms])
        shared.MRModifierSequence = Items([modifier])
    image.SharedFunctionalGroupsSequence = Items([shared])
    image.PerFrameFunctionalGroupsSequence = Items(
        _of(
            PlanePositionSequence=Items([_of(ImagePositionPatient=_rounded(_lps(affine @ (0, 0, index, 1))[:3]))]),
            FrameContentSequence=Items([_of(StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[1])]),
        )
        for index in order
    )
    return _bytes(image, picture, scanned)


def _image(picture: Pixels, affine: Affine, scanned: Scanned) -> Dataset:
    """All of a header but the places of slices."""
    image = Dataset()
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.Modality, image.Manufacturer, image.ManufacturerModelName = "MR", "metseg", "phantom"
    image.PatientName, image.PatientID = scanned.patient
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyInstanceUID, image.StudyID, image.StudyDescription = make_uid(scanned.study), "1", "Head"
    image.StudyDate, image.StudyTime = "20260101", "120000"
    image.AccessionNumber, image.ReferringPhysicianName = "A1", ""
    image.SeriesInstanceUID, image.SeriesNumber = make_uid(scanned.study, scanned.number), scanned.number
    image.SeriesDescription, image.BodyPartExamined, image.PatientPosition = scanned.description, "HEAD", "HFS"
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = make_uid(scanned.study, "frame"), ""
    image.ScanningSequence, image.SequenceVariant = list(scanned.scanning), "NONE"
    image.ScanOptions, image.MRAcquisitionType, image.EchoTrainLength = "", "2D", 1
    image.EchoTime, image.RepetitionTime = scanned.echo_ms, scanned.repetition_ms
    if scanned.inversion_ms is not None:
        image.InversionTime = scanned.inversion_ms
    if scanned.contrast:
        image.ContrastBolusAgent = scanned.contrast
    image.Rows, image.Columns = picture.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, int(picture.dtype.kind == "i")
    return image


def _bytes(image: Dataset, picture: Pixels, scanned: Scanned) -> bytes:
    image.PixelData = picture.astype(picture.dtype.newbyteorder("<")).tobytes()
    image["PixelData"].VR = "OW"
    for keyword, value in scanned.more.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    target = BytesIO()
    image.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _of(**elements: Any) -> Dataset:  # noqa: ANN401
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _affine(phantom: Phantom) -> Affine:
    if phantom.volume.affine is None:
        raise ValueError("a phantom without an affine lies nowhere")
    return phantom.volume.affine


def _lps(ras: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    turned: npt.NDArray[np.float64] = ras * np.array([-1.0, -1.0, 1.0, 1.0])[: len(ras)]
    return turned


def _directions(affine: Affine) -> list[float]:
    across, down = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))
    return _rounded([*_lps(across), *_lps(down)])


def _in_plane(affine: Affine) -> list[float]:
    """Between rows, then between columns, as PixelSpacing has it."""
    return _rounded([float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)])


def _rounded(values: Any) -> list[float]:  # noqa: ANN401 (an array or a list)
    """As decimal strings of 16 characters can hold them."""
    return [float(f"{value:.10g}") + 0.0 for value in values]

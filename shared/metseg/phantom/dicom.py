"""Phantom studies as DICOM series, as a scanner writes them.

File names and instance numbers do not follow the order of slices, on purpose: only positions do.
"""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from metseg.contracts import Role
from metseg.formats.dicom import make_uid
from metseg.imaging import LPS_TO_RAS, Affine, Array, Float64Array
from metseg.phantom.scan import Phantom

__all__ = ["SERIES_PARAMETERS", "SeriesParameters", "enhanced_file", "series_files", "study_files"]


@dataclass(frozen=True)
class SeriesParameters:
    """The attributes of a series.

    Attributes:
        number: of the series.
        description: free text.
        echo_ms: echo time.
        repetition_ms: repetition time.
        inversion_ms: inversion time; None where nothing is inverted.
        scanning_sequence: the values of ScanningSequence.
        contrast: the agent, or empty.
        patient: name and identifier.
        study: a word from which the UIDs of the study are derived.
        extra: elements by keyword that are added or replaced.
    """

    number: int = 1
    description: str = ""
    echo_ms: float = 90.0
    repetition_ms: float = 9000.0
    inversion_ms: float | None = None
    scanning_sequence: tuple[str, ...] = ("SE",)
    contrast: str = ""
    patient: tuple[str, str] = ("Phantom^Procedural", "PHANTOM-1")
    study: str = "study"
    extra: dict[str, Any] = field(default_factory=dict)


SERIES_PARAMETERS: dict[Role, SeriesParameters] = {
    "pre": SeriesParameters(number=2, description="T1 axial", echo_ms=12, repetition_ms=550),
    "flair": SeriesParameters(
        number=3,
        description="FLAIR axial",
        echo_ms=120,
        repetition_ms=9000,
        inversion_ms=2500,
        scanning_sequence=("SE", "IR"),
    ),
    "post": SeriesParameters(number=4, description="T1 axial Gd", echo_ms=12, repetition_ms=550, contrast="Gadobutrol"),
}


def study_files(phantom: Phantom, study: str = "study") -> dict[str, bytes]:
    """Write the three series of a phantom, one file per slice, with names in no order.

    Args:
        phantom: with an affine.
        study: a word from which the UIDs are derived; equal arguments give equal files.

    Returns:
        Content by file name.
    """
    files: dict[str, bytes] = {}
    for channel, parameters in enumerate(SERIES_PARAMETERS.values()):
        pixels = phantom.volume.pixels[..., channel].astype(np.uint16) * 16
        series_parameters = SeriesParameters(**{**vars(parameters), "study": study})
        files |= series_files(pixels, _affine(phantom), series_parameters)
    return files


def series_files(pixels: Array, affine: Affine, parameters: SeriesParameters) -> dict[str, bytes]:
    """Write one series, one file per slice.

    Args:
        pixels: uint16 or int16, (slice, row, column).
        affine: from (column, row, slice) to RAS+ millimetres; any rotation and any handedness.
        parameters: of the series.

    Returns:
        Content by file name.
    """
    series = make_uid(parameters.study, parameters.number)
    files = {}
    for index, image_pixels in enumerate(pixels):
        name = hashlib.sha256(f"{series}{index}".encode()).hexdigest()[:12]
        image = _image(image_pixels, affine, parameters)
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = make_uid(parameters.study, parameters.number, index + 1)
        image.InstanceNumber = int(name[:3], 16)
        image.ImagePositionPatient = _rounded(_lps(affine @ (0, 0, index, 1))[:3])
        image.ImageOrientationPatient = _directions(affine)
        image.PixelSpacing = _in_plane(affine)
        image.SliceThickness = _rounded([float(np.linalg.norm(affine[:3, 2]))])[0]
        files[f"{name}.dcm"] = _bytes(image, image_pixels, parameters)
    return files


def enhanced_file(pixels: Array, affine: Affine, parameters: SeriesParameters, order: list[int] | None = None) -> bytes:
    """Write one series as an enhanced multi-frame file.

    Args:
        pixels: uint16 or int16, (slice, row, column).
        affine: from (column, row, slice) to RAS+ millimetres.
        parameters: of the series.
        order: the slice of each frame; None keeps the order.

    Returns:
        The file's bytes.
    """
    order = list(range(len(pixels))) if order is None else order
    image_pixels = np.ascontiguousarray(pixels[order])
    image = _image(image_pixels[0], affine, parameters)
    for keyword in ("EchoTime", "RepetitionTime", "InversionTime", "ScanningSequence"):
        if keyword in image:
            delattr(image, keyword)
    image.SOPClassUID, image.SOPInstanceUID = EnhancedMRImageStorage, make_uid(parameters.study, parameters.number, 1)
    image.NumberOfFrames, image.InstanceNumber = len(order), 1
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([_item(ImageOrientationPatient=_directions(affine))])
    thickness = _rounded([float(np.linalg.norm(affine[:3, 2]))])[0]
    shared.PixelMeasuresSequence = Items([_item(PixelSpacing=_in_plane(affine), SliceThickness=thickness)])
    shared.PixelValueTransformationSequence = Items([_item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")])
    shared.MRTimingAndRelatedParametersSequence = Items([_item(RepetitionTime=parameters.repetition_ms)])
    shared.MREchoSequence = Items([_item(EffectiveEchoTime=parameters.echo_ms)])
    if parameters.inversion_ms is not None:
        modifier = _item(InversionRecovery="YES", InversionTimes=[parameters.inversion_ms])
        shared.MRModifierSequence = Items([modifier])
    image.SharedFunctionalGroupsSequence = Items([shared])
    image.PerFrameFunctionalGroupsSequence = Items(
        _item(
            PlanePositionSequence=Items([_item(ImagePositionPatient=_rounded(_lps(affine @ (0, 0, index, 1))[:3]))]),
            FrameContentSequence=Items([_item(StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[1])]),
        )
        for index in order
    )
    return _bytes(image, image_pixels, parameters)


def _image(image_pixels: Array, affine: Affine, parameters: SeriesParameters) -> Dataset:
    """The header without the positions of slices."""
    image = Dataset()
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.Modality, image.Manufacturer, image.ManufacturerModelName = "MR", "metseg", "phantom"
    image.PatientName, image.PatientID = parameters.patient
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyInstanceUID, image.StudyID, image.StudyDescription = make_uid(parameters.study), "1", "Head"
    image.StudyDate, image.StudyTime = "20260101", "120000"
    image.AccessionNumber, image.ReferringPhysicianName = "A1", ""
    image.SeriesInstanceUID, image.SeriesNumber = make_uid(parameters.study, parameters.number), parameters.number
    image.SeriesDescription, image.BodyPartExamined, image.PatientPosition = parameters.description, "HEAD", "HFS"
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = make_uid(parameters.study, "frame"), ""
    image.ScanningSequence, image.SequenceVariant = list(parameters.scanning_sequence), "NONE"
    image.ScanOptions, image.MRAcquisitionType, image.EchoTrainLength = "", "2D", 1
    image.EchoTime, image.RepetitionTime = parameters.echo_ms, parameters.repetition_ms
    if parameters.inversion_ms is not None:
        image.InversionTime = parameters.inversion_ms
    if parameters.contrast:
        image.ContrastBolusAgent = parameters.contrast
    image.Rows, image.Columns = image_pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, int(image_pixels.dtype.kind == "i")
    return image


def _bytes(image: Dataset, image_pixels: Array, parameters: SeriesParameters) -> bytes:
    image.PixelData = image_pixels.astype(image_pixels.dtype.newbyteorder("<")).tobytes()
    image["PixelData"].VR = "OW"
    for keyword, value in parameters.extra.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    target = BytesIO()
    image.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _item(**elements: Any) -> Dataset:  # noqa: ANN401
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _affine(phantom: Phantom) -> Affine:
    if phantom.volume.affine is None:
        raise ValueError("the phantom has no affine")
    return phantom.volume.affine


def _lps(ras: Float64Array) -> Float64Array:
    lps: Float64Array = ras * LPS_TO_RAS.diagonal()[: len(ras)]
    return lps


def _directions(affine: Affine) -> list[float]:
    columns, rows = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))
    return _rounded([*_lps(columns), *_lps(rows)])


def _in_plane(affine: Affine) -> list[float]:
    """Between rows, then between columns, as in PixelSpacing."""
    return _rounded([float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)])


def _rounded(values: Any) -> list[float]:  # noqa: ANN401 (an array or a list)
    """Rounded to what a decimal string of 16 characters can hold."""
    return [float(f"{value:.10g}") + 0.0 for value in values]

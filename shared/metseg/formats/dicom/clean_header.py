"""Removes identities from a DICOM header: only what is listed here is kept, and only as the dictionary's type.

A file may declare any type (VR) for an element, so the declared one decides nothing: each value is read as the type of
the standard's dictionary and must be one, with the number of values that the dictionary allows. The profile's action
applies first. Of what the profile keeps, numbers and codes of an image remain if they are listed, UIDs are mapped
wherever they are, and everything else is removed: names, dates, times, ages, free text, bytes.
"""

import hmac
import math
import re
import uuid
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from metseg.errors import UnreadableImage
from metseg.formats.dicom.evidence import IMAGE_KINDS
from metseg.formats.dicom.profile import profile_action
from metseg.formats.dicom.safe_read import translate_errors

__all__ = ["KEPT_CODES", "KEPT_NUMBERS", "Pseudonyms", "clean_header"]

REQUIRED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
KEPT_NUMBERS = (
    *(*REQUIRED, "NumberOfFrames", "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "RepetitionTime", "EchoTime", "EffectiveEchoTime", "EchoTrainLength"),
    *("InversionTime", "InversionTimes", "FlipAngle", "DiffusionBValue", "MagneticFieldStrength"),
    *("ContrastBolusVolume", "ContrastBolusTotalDose", "InStackPositionNumber", "LossyImageCompressionRatio"),
)
KEPT_CODES = (
    *("Modality", "PhotometricInterpretation", "BurnedInAnnotation", "ImageType", "FrameType", "PatientPosition"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "EchoPulseSequence", "AngioFlag"),
    *("EchoPlanarPulseSequence", "TimeOfFlightContrast", "PhaseContrast", "ArterialSpinLabelingContrast"),
    *("InversionRecovery", "ComplexImageComponent", "AcquisitionContrast", "ContrastBolusAgentAdministered"),
    *("LossyImageCompression", "LossyImageCompressionMethod", "PixelPresentation", "VolumetricProperties", "StackID"),
)
"""Of codes, words of the standard are kept; others become pseudonyms, so that equal ones stay equal."""
WORDS = IMAGE_KINDS | frozenset(
    {"MR", "MONOCHROME1", "MONOCHROME2", "YES", "NO", "Y", "N", "NONE", "UNKNOWN", "MIXED", "00", "01", "2D", "3D"}
    | {"HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS", "SPIN", "GRADIENT", "BOTH", "SE", "IR", "GR", "EP"}
    | {"RM", "SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "TOF", "PC", "ASL", "PER", "RG", "CG", "PPG", "FC", "PFF"}
    | {"PFP", "FS", "ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "M", "MAGNITUDE", "COMPLEX", "OTHER", "NORM", "ND"}
    | {"T1", "T2", "T2_STAR", "FLUID_ATTENUATED", "PROTON_DENSITY", "STIR", "TAGGING", "PERFUSION", "FLOW_ENCODED"}
    | {
        "DIFFUSION",
        "VOLUME",
        "SAMPLED",
        "DISTORTED",
        "MONOCHROME",
        "COLOR",
        "TRUE_COLOR",
        "MPR",
        "M_SE",
        "M_IR",
        "M_FFE",
    }
    | {"REFORMATTED", "RESAMPLED", "FC_FREQ_AX_GEMS", "FC_SLICE_AX_GEMS", "FC_FREQ", "FC_SLICE", "FCFREQ"}
    | {"ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_13818_2", "ISO_14496_10"}
)
FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
NUMBER_TAGS, CODE_TAGS, FRAME_TAGS = (frozenset(map(Tag, names)) for names in (KEPT_NUMBERS, KEPT_CODES, FRAMES))
BINARY = {"US": "u2", "SS": "i2", "UL": "u4", "SL": "i4", "FL": "f4", "FD": "f8"}
TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "PN"})
NUMERIC = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
MAX_NUMBER_LENGTH = 32
LARGEST, DIGITS = 1e9, 7
"""Of a binary number with a fraction; more would hold text."""
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UR": "urn:removed"}


@dataclass(frozen=True)
class Pseudonyms:
    """New identifiers for one submission; equal identifiers get equal pseudonyms."""

    secret: bytes = field(default_factory=lambda: token_bytes(32), repr=False)

    def uid(self, old: str) -> str:
        """For an instance, series, study, frame of reference or anything else."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=5).int}"

    def patient(self, old: str) -> str:
        """For a patient: both name and identifier."""
        return f"ANON-{self._digest('patient', old)[:4].hex().upper()}"

    def code(self, old: str) -> str:
        """For a word of an image's type or options that is not one of the standard's."""
        return f"CODE_{self._digest('code', old)[:4].hex().upper()}"

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.secret, f"{kind} {old}".encode(errors="surrogateescape"), "sha256")


def clean_header(dataset: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """The elements of a header that identify nobody.

    Args:
        dataset: as read, with values not parsed yet.
        pseudonyms: of the submission.

    Returns:
        A new data set.

    Raises:
        UnreadableImage: an element that an image needs is not what the dictionary says.
    """
    kept = _clean(dataset, pseudonyms, _is_signed(dataset))
    for keyword in REQUIRED:
        if keyword in dataset and keyword not in kept:
            raise UnreadableImage(
                f"{keyword} of a DICOM file is not of the standard's type, so the file cannot be de-identified; "
                "export it again."
            )
    return kept


def _is_signed(dataset: Dataset) -> bool:
    return "PixelRepresentation" in dataset and _numbers(dataset.get_item("PixelRepresentation"), "US") == [1]


def _clean(dataset: Dataset, pseudonyms: Pseudonyms, signed: bool) -> Dataset:
    kept = Dataset()
    for tag in list(dataset.keys()):
        element = _clean_element(dataset, tag, pseudonyms, signed)
        if element is not None:
            kept[tag] = element
    return kept


def _clean_element(dataset: Dataset, tag: BaseTag, pseudonyms: Pseudonyms, signed: bool) -> DataElement | None:
    """What is kept of an element: itself, a pseudonym, a dummy, nothing (None)."""
    action = profile_action(tag)
    if action == "X":
        return None
    vr = dictionary_VR(tag)
    if vr == "SQ":
        return None if action in ("Z", "D") else _clean_items(dataset, tag, pseudonyms, signed)
    element = dataset.get_item(tag)
    if vr != "UI" and action:
        return _dummy(tag, vr, action, bool(element.value))
    return _element(tag, *_values(element, tag, vr, pseudonyms, signed))


def _dummy(tag: BaseTag, vr: str, action: str, has_value: bool) -> DataElement | None:
    """What stands for a value that the profile empties (Z) or replaces (D)."""
    if action == "Z":
        return DataElement(tag, vr, empty_value_for_VR(vr))
    dummy = DUMMIES.get(vr) or ("REMOVED" if vr in TEXT_VRS else None)
    return DataElement(tag, vr, dummy) if dummy and has_value else None


def _values(
    element: RawDataElement | DataElement, tag: BaseTag, vr: str, pseudonyms: Pseudonyms, signed: bool
) -> tuple[str, list[Any] | None]:
    """The type of an element and what is kept of its values."""
    if vr == "UI":  # all but those that the standard registers
        return vr, [old if UID(old).name != old else pseudonyms.uid(old) for old in _texts(element) if old]
    if tag in CODE_TAGS:
        return vr, [
            each if each in WORDS else pseudonyms.code(each) for each in map(str.upper, _texts(element)) if each
        ]
    if tag in NUMBER_TAGS:
        vr = ("SS" if signed else "US") if vr == "US or SS" else vr
        return vr, _numbers(element, vr)
    return vr, None


def _clean_items(dataset: Dataset, tag: BaseTag, pseudonyms: Pseudonyms, signed: bool) -> DataElement | None:
    """The items of a sequence; None where nothing of them is kept, or where they are not items."""
    declared = dataset.get_item(tag).VR
    if declared not in (None, "SQ", "UN"):
        return None
    try:
        with translate_errors():
            value = dataset[tag].value
    except UnreadableImage:
        return None
    if not isinstance(value, Items):
        return None
    items = [_clean(item, pseudonyms, signed) for item in value]
    return DataElement(tag, "SQ", Items(items)) if tag in FRAME_TAGS or any(items) else None


def _element(tag: BaseTag, vr: str, values: list[Any] | None) -> DataElement | None:
    """An element with as many values as the dictionary allows; else None."""
    if not values:
        return None
    least, _, most = dictionary_VM(tag).partition("-")
    most = most or least
    if len(values) < int(least) or (most.isdigit() and len(values) > int(most)):
        return None
    return DataElement(tag, vr, values if len(values) > 1 else values[0])


def _texts(element: RawDataElement | DataElement) -> list[str]:
    """The values of an element as text, whatever type the file declares."""
    value: Any = element.value
    if isinstance(value, bytes):
        return [each.strip("\0 ") for each in value.decode("latin-1").split("\\")]
    values = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return [str(each).strip("\0 ") for each in values if each is not None]


def _numbers(element: RawDataElement | DataElement, vr: str) -> list[Any] | None:
    """The values of an element as numbers of a type; None where one is not."""
    declared = element.VR if element.VR not in (None, "UN") else vr
    value: Any = element.value
    if isinstance(value, bytes) and declared in BINARY:
        dtype = np.dtype(BINARY[declared]).newbyteorder("<" if getattr(element, "is_little_endian", True) else ">")
        values: list[Any] = np.frombuffer(value, dtype).tolist() if len(value) % dtype.itemsize == 0 else []
    else:
        values = _texts(element)
    found = [_number(each, vr) for each in values]
    return None if None in found else found


def _number(value: Any, vr: str) -> Any:  # noqa: ANN401 (a number, or a decimal string as it was written)
    """A value as a number of a type, or None where it is not one."""
    text = str(value)
    if len(text) > MAX_NUMBER_LENGTH or not NUMERIC.fullmatch(text):
        return None
    text = text.replace(",", ".")
    number = float(text)
    if not math.isfinite(number):
        return None
    if vr == "DS":
        return text
    if vr in ("FL", "FD"):
        return float(f"{number:.{DIGITS}g}") if abs(number) <= LARGEST else None
    limits = np.iinfo(BINARY.get(vr, "i4"))
    return int(number) if number == int(number) and limits.min <= number <= limits.max else None

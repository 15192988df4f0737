"""How an MR series was acquired: what its header says of weighting, contrast agent and kind of image.

Single-frame MR has the elements in the data set itself, enhanced MR in the functional groups of each frame.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from metseg.formats.dicom.header_values import first_item, get_number, get_numbers, get_string, get_strings

__all__ = ["PRIVATE_TAGS", "TAGS", "Acquisition", "component_of", "read_acquisition", "read_image_type"]

GE_RAW_DATA_TYPE = 0x0043102F
"""GE's private element for magnitude, phase, real and imaginary images, which its ImageType does not distinguish."""
GE_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")
TAGS = (
    *("Manufacturer", "SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "StudyDescription"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "EchoPulseSequence", "FlipAngle"),
    *("EchoPlanarPulseSequence", "TimeOfFlightContrast", "PhaseContrast", "ArterialSpinLabelingContrast"),
    *("RepetitionTime", "EchoTime", "InversionTime", "InversionRecovery", "DiffusionBValue", "AngioFlag"),
    *("ImageType", "ComplexImageComponent", "AcquisitionContrast"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence", "ContrastBolusVolume", "ContrastBolusTotalDose"),
)
"""The elements that this module reads outside the functional groups, by keyword."""
PRIVATE_TAGS = (GE_RAW_DATA_TYPE,)
NO_AGENT = re.compile(
    r"(?:NO|NOT|NON(?![ -]?ION)|NONE|NIL|N|N/?A|W/?O|WITHOUT|UNENHANCED|NATIVE?|OHNE|KEINE?S?|SANS|AUCUN|SIN|NINGUNO|"
    r"SENZA|SEM|ZONDER|UTEN|UTAN|UDEN|BEZ|0|-)(?![A-Z0-9.,/])"
)
"""The beginning of what people enter as the agent where none was given."""
UNKNOWN_AGENT = frozenset({"UNKNOWN", "UNK", "?", "UNBEKANNT", "INCONNU", "DESCONOCIDO"})
FLAGS = {
    "EchoPlanarPulseSequence": "EP",
    "TimeOfFlightContrast": "TOF",
    "PhaseContrast": "PC",
    "ArterialSpinLabelingContrast": "ASL",
}


class Acquisition(NamedTuple):
    """How a series was acquired, which indicates its role.

    Attributes:
        description: SeriesDescription; may hold anything, so it appears in no message.
        protocol: ProtocolName, likewise; empty where it names the whole examination.
        sequence_name: by the vendor.
        scanning_sequence: ScanningSequence, or its equivalent in enhanced MR: `SE`, `IR`, `GR`, `EP`, `TOF`, `PC`.
        sequence_variant: SequenceVariant: `SP` is spoiled, `MP` prepared, `SS` steady state.
        scan_options: ScanOptions: `FC` is flow compensation.
        repetition_ms: repetition time, or None.
        echo_ms: echo time, or None.
        inversion_ms: inversion time, or None.
        is_2d: whether slices were excited one by one; None where unknown.
        agent: whether a contrast agent was given; None where the header does not say.
        image_type: the values of ImageType and ComplexImageComponent.
        weighting: AcquisitionContrast of enhanced MR, or empty.
        b_value: of diffusion, in s/mm2; None where missing.
        is_angiography: whether AngioFlag says so.
    """

    description: str = ""
    protocol: str = ""
    sequence_name: str = ""
    scanning_sequence: frozenset[str] = frozenset()
    sequence_variant: frozenset[str] = frozenset()
    scan_options: frozenset[str] = frozenset()
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    is_2d: bool | None = None
    agent: bool | None = None
    image_type: frozenset[str] = frozenset()
    weighting: str = ""
    b_value: float | None = None
    is_angiography: bool = False


def read_acquisition(dataset: Dataset) -> Acquisition:
    """How the header says the series was acquired, by its first frame; to be called within `translate_errors`."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    first = (dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()])[0]

    def of(macro: str) -> Dataset:
        return first_item(first, macro) or first_item(shared, macro) or Dataset()

    timing, echo, modifier = of("MRTimingAndRelatedParametersSequence"), of("MREchoSequence"), of("MRModifierSequence")
    frame_type, diffusion = of("MRImageFrameTypeSequence"), of("MRDiffusionSequence")
    inversion = next(iter(get_numbers(modifier, "InversionTimes") or []), None)
    dimensions = get_string(dataset, "MRAcquisitionType").upper()
    b_value = get_number(diffusion, "DiffusionBValue")
    return Acquisition(
        description=get_string(dataset, "SeriesDescription"),
        protocol=_protocol(dataset),
        sequence_name=get_string(dataset, "SequenceName") or get_string(dataset, "PulseSequenceName"),
        scanning_sequence=frozenset(_scanning_sequence(dataset, modifier)),
        sequence_variant=_codes(dataset, "SequenceVariant"),
        scan_options=_codes(dataset, "ScanOptions"),
        repetition_ms=get_number(timing, "RepetitionTime") or get_number(dataset, "RepetitionTime"),
        echo_ms=get_number(echo, "EffectiveEchoTime") or get_number(dataset, "EchoTime"),
        inversion_ms=inversion or get_number(dataset, "InversionTime") or None,
        is_2d=dimensions == "2D" if dimensions else None,
        agent=_agent(dataset, of("ContrastBolusUsageSequence")),
        image_type=read_image_type(dataset, frame_type),
        weighting=(get_string(frame_type, "AcquisitionContrast") or get_string(dataset, "AcquisitionContrast")).upper(),
        b_value=get_number(dataset, "DiffusionBValue") if b_value is None else b_value,
        is_angiography=get_string(dataset, "AngioFlag").upper() == "Y",
    )


def read_image_type(dataset: Dataset, frame_type: Dataset) -> frozenset[str]:
    """What kind of image a frame is.

    Args:
        dataset: of the file.
        frame_type: the frame's item of MRImageFrameTypeSequence; empty in single-frame MR.

    Returns:
        The values of FrameType, or else ImageType, and of ComplexImageComponent, upper case.
    """
    kinds = _codes(frame_type, "FrameType") or _codes(dataset, "ImageType")
    components = _codes(frame_type, "ComplexImageComponent") or _codes(dataset, "ComplexImageComponent")
    return kinds | components | {component_of(dataset)} - {""}


def component_of(dataset: Dataset) -> str:
    """GE's private value for the part of the complex signal that an image shows; empty where missing."""
    raw: Any = dataset[GE_RAW_DATA_TYPE].value if GE_RAW_DATA_TYPE in dataset else None
    if isinstance(raw, bytes) and len(raw) == 2:  # implicit VR
        raw = int.from_bytes(raw, "little")
    return GE_COMPONENTS[raw] if isinstance(raw, int) and 0 <= raw < len(GE_COMPONENTS) else ""


def _codes(dataset: Dataset, keyword: str) -> frozenset[str]:
    return frozenset(each.upper() for each in get_strings(dataset, keyword) if each)


def _protocol(dataset: Dataset) -> str:
    """ProtocolName, where it names the series: GE writes the examination's there, others may repeat the study's."""
    protocol = get_string(dataset, "ProtocolName")
    is_ge = get_string(dataset, "Manufacturer").upper().startswith("GE")
    return "" if is_ge or protocol == get_string(dataset, "StudyDescription") else protocol


def _scanning_sequence(dataset: Dataset, modifier: Dataset) -> Iterator[str]:
    yield from _codes(dataset, "ScanningSequence")
    pulse = get_string(dataset, "EchoPulseSequence").upper()
    if pulse in ("SPIN", "BOTH"):
        yield "SE"
    if pulse in ("GRADIENT", "BOTH"):
        yield "GR"
    if get_string(modifier, "InversionRecovery").upper() == "YES":
        yield "IR"
    yield from (code for keyword, code in FLAGS.items() if get_string(dataset, keyword).upper() == "YES")


def _agent(dataset: Dataset, usage: Dataset) -> bool | None:
    """Whether an agent was given: by frame in enhanced MR, else by its name or its amount."""
    administered = get_string(usage, "ContrastBolusAgentAdministered").upper()
    if administered in ("YES", "NO"):
        return administered == "YES"
    named = get_string(dataset, "ContrastBolusAgent").upper()
    if named and named not in UNKNOWN_AGENT:
        return NO_AGENT.match(named) is None
    amounts = (get_number(dataset, keyword) for keyword in ("ContrastBolusVolume", "ContrastBolusTotalDose"))
    return True if dataset.get("ContrastBolusAgentSequence") or any(amounts) else None

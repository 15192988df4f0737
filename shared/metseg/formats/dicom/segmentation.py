"""DICOM SEG: the lesions on the frames of the source.

Each lesion is a separate segment, numbered as in the result. Viewers list segments by name and colour and jump to them,
so a reader can show, hide and follow each lesion; a structured report refers to measured regions by segment number; and
tracking needs one identifier per lesion. One segment of all lesions would give none of this. Frames are binary, with
the source's size and position, and empty ones are omitted; where nothing was found, one empty segment covers every
frame.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, Lesion
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.uids import make_uid
from metseg.imaging import LabelMap

__all__ = ["MANUFACTURER", "AlgorithmRun", "LabelMap", "build_segmentation", "tracking_identifier"]

MANUFACTURER = "metseg"
SERIES_NUMBER = 9001
COLOURS = ((230, 60, 60), (60, 160, 230), (240, 190, 40), (90, 200, 110), (190, 110, 220), (240, 130, 50))


class AlgorithmRun(NamedTuple):
    """The run of a model that found the lesions.

    Attributes:
        network: of the model.
        version: of the model.
        job: the job's id; the identifiers of its results follow from it, so that another attempt gives the same ones.
    """

    network: str
    version: str
    job: str


def build_segmentation(
    origin: SourceImages, labels: LabelMap, lesions: Sequence[Lesion], algorithm: AlgorithmRun
) -> Dataset:
    """Build the segmentation of a result.

    Args:
        origin: the source images.
        labels: (slice, row, column) in the source's order: 0, or the lesion's number.
        lesions: those numbers' lesions, from 1.
        algorithm: what found them.

    Returns:
        The data set, ready to be saved.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues

    dataset: Dataset = Segmentation(
        source_images=list(origin.headers),
        pixel_array=labels.astype(np.uint16),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe_segment(number, algorithm) for number in range(1, max(len(lesions), 1) + 1)],
        series_instance_uid=make_uid(algorithm.job, "segmentation series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=make_uid(algorithm.job, "segmentation"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.network,
        software_versions=algorithm.version,
        device_serial_number=algorithm.version,
        content_description=SHORT_DISCLAIMER,
        content_label="LESIONS",
        series_description=f"metseg: lesions ({RESEARCH_ONLY.lower()})",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=bool(lesions),
    )
    if origin.numbers is not None:
        _set_source_frame_numbers(dataset, origin.numbers)
    return dataset


def _set_source_frame_numbers(dataset: Dataset, numbers: Sequence[int]) -> None:
    """Refer to the frames of the source file by their numbers there, not by their index in the stack."""
    sources = [
        source
        for groups in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence)
        for derivation in groups.get("DerivationImageSequence") or []
        for source in derivation.SourceImageSequence
    ]
    for source in {id(source): source for source in sources}.values():  # frames of one position share theirs
        source.ReferencedFrameNumber = numbers[int(source.ReferencedFrameNumber) - 1]


def tracking_identifier(number: int, algorithm: AlgorithmRun) -> tuple[str, str]:
    """The tracking identifier and tracking UID of a lesion, in the segmentation and in the report.

    Args:
        number: of the lesion.
        algorithm: what found it.

    Returns:
        The identifier and the UID.
    """
    return f"Lesion {number}", make_uid(algorithm.job, "lesion", number)


def _describe_segment(number: int, algorithm: AlgorithmRun) -> Any:  # noqa: ANN401 (highdicom is imported where it is needed)
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    identifier, tracking_uid = tracking_identifier(number, algorithm)
    return SegmentDescription(
        segment_number=number,
        segment_label=identifier,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"{MANUFACTURER} {algorithm.network}",
            family=codes.cid7162.ArtificialIntelligence,
            version=algorithm.version,
            source=MANUFACTURER,
        ),
        tracking_uid=tracking_uid,
        tracking_id=identifier,
        anatomic_regions=[codes.SCT.Brain],
        display_color=CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
    )

"""DICOM SEG: lesions on the frames that they were found in.

Each lesion is a segment of its own, numbered as in the result. Viewers list segments by name and colour and jump to
them, so a reader can switch one lesion on and off and follow it; a structured report refers to its measurements'
region by segment number; and trackers need one tracking identifier a lesion. One segment of all lesions would give
neither. Frames are binary, of the source's own size and place, and only those that hold something are kept; where
nothing was found, one empty segment says so on every frame.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, Lesion
from metseg.formats.dicom.source_headers import Origin
from metseg.formats.dicom.uids import uid

__all__ = ["MAKER", "Finder", "segmentation", "tracking"]

MAKER = "metseg"
SERIES_NUMBER = 9001
COLOURS = ((230, 60, 60), (60, 160, 230), (240, 190, 40), (90, 200, 110), (190, 110, 220), (240, 130, 50))
Labels = npt.NDArray[np.integer[Any]]


class Finder(NamedTuple):
    """What found the lesions.

    Attributes:
        network: of the model.
        version: of the model.
        job: the job's id, from which the identifiers of its results follow: an attempt again gives them again.
    """

    network: str
    version: str
    job: str


def segmentation(origin: Origin, labels: Labels, lesions: Sequence[Lesion], finder: Finder) -> Dataset:
    """The SEG of a result.

    Args:
        origin: the source images.
        labels: (slice, row, column) in the source's order: 0 where nothing is, else the lesion's number.
        lesions: those numbers' lesions, from 1.
        finder: what found them.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues

    made: Dataset = Segmentation(
        source_images=list(origin.headers),
        pixel_array=labels.astype(np.uint16),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(number, finder) for number in range(1, max(len(lesions), 1) + 1)],
        series_instance_uid=uid(finder.job, "segmentation series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid(finder.job, "segmentation"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=finder.network,
        software_versions=finder.version,
        device_serial_number=finder.version,
        content_description=SHORT_DISCLAIMER,
        content_label="LESIONS",
        series_description=f"metseg: lesions ({RESEARCH_ONLY.lower()})",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=bool(lesions),
    )
    if origin.numbers is not None:
        _number_sources(made, origin.numbers)
    return made


def _number_sources(made: Dataset, numbers: Sequence[int]) -> None:
    """Refer to the frames of the source file by their numbers there, not among those that a slice was made of."""
    sources = [
        source
        for groups in (*made.SharedFunctionalGroupsSequence, *made.PerFrameFunctionalGroupsSequence)
        for derivation in groups.get("DerivationImageSequence") or []
        for source in derivation.SourceImageSequence
    ]
    for source in {id(source): source for source in sources}.values():  # frames of one place share theirs
        source.ReferencedFrameNumber = numbers[int(source.ReferencedFrameNumber) - 1]


def tracking(number: int, finder: Finder) -> tuple[str, str]:
    """The words and the UID by which a lesion is known in SEG and report."""
    return f"Lesion {number}", uid(finder.job, "lesion", number)


def _described(number: int, finder: Finder) -> Any:  # noqa: ANN401 (highdicom is imported where it is needed)
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    words, tracking_uid = tracking(number, finder)
    return SegmentDescription(
        segment_number=number,
        segment_label=words,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"{MAKER} {finder.network}",
            family=codes.cid7162.ArtificialIntelligence,
            version=finder.version,
            source=MAKER,
        ),
        tracking_uid=tracking_uid,
        tracking_id=words,
        anatomic_regions=[codes.SCT.Brain],
        display_color=CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
    )

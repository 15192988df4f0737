"""DICOM SEG: the lesions on the frames of the source.

Each lesion is a separate segment, numbered as in the result; where lesions are of the core, the abnormality around all
of them is the last segment. Viewers list segments by name and colour and jump to them,
so a reader can show, hide and follow each lesion; a structured report refers to measured regions by segment number; and
tracking needs one identifier per lesion. One segment of all lesions would give none of this. Frames are binary, with
the source's size and position, and empty ones are omitted; where nothing was found, one empty segment covers every
frame. After a review the creator of the content is the reader, and each segment says whether the algorithm, a person or
both outlined it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, Lesion, OutlinedBy
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.uids import make_uid
from metseg.imaging import LabelMap

__all__ = [
    "ALGORITHM_TYPES",
    "COLOURS",
    "MANUFACTURER",
    "AlgorithmRun",
    "Findings",
    "Observation",
    "abnormality_identifier",
    "build_segmentation",
    "no_lesion_identifier",
    "tracking_identifier",
]

MANUFACTURER = "metseg"
SERIES_NUMBER = 9001
ALGORITHM_TYPES: dict[OutlinedBy, str] = {"model": "AUTOMATIC", "both": "SEMIAUTOMATIC", "reader": "MANUAL"}
"""Segment Algorithm Type (PS3.3 C.8.20.4): calculated, calculated with a user's assistance, or entered by a user."""
COLOURS = ((230, 60, 60), (60, 160, 230), (240, 190, 40), (90, 200, 110), (190, 110, 220), (240, 130, 50))


class Observation(NamedTuple):
    """A person's review of what an algorithm found.

    Attributes:
        number: of the review; another one gives other instances.
        reader: who, as far as that is known: the name of an API key.
        changed_whole: whether the abnormality is another than the algorithm outlined.
    """

    number: int
    reader: str
    changed_whole: bool


class Findings(NamedTuple):
    """What was found.

    Attributes:
        lesions: largest first, numbered from 1.
        of_core: whether they are of the core, with the abnormality around them as label `len(lesions) + 1`; otherwise
            they are of the whole.
        abnormality_mm3: volume of the abnormality around them; 0 if there is none.
        observation: of the person who reviewed them; None if nobody has.
    """

    lesions: Sequence[Lesion]
    of_core: bool
    abnormality_mm3: float = 0
    observation: Observation | None = None

    def instance_uid(self, algorithm: "AlgorithmRun", kind: str) -> str:
        """The UID of an instance with these findings.

        Args:
            algorithm: what found the lesions first.
            kind: of the instance.

        Returns:
            Another UID for each review.
        """
        return make_uid(algorithm.job, kind, *(() if self.observation is None else (self.observation.number,)))

    @property
    def instance_number(self) -> int:
        """1 for what the algorithm found, and one more for each review."""
        return 1 + (0 if self.observation is None else self.observation.number)


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


def build_segmentation(origin: SourceImages, labels: LabelMap, findings: Findings, algorithm: AlgorithmRun) -> Dataset:
    """Build the segmentation of a result.

    Args:
        origin: the source images.
        labels: (slice, row, column) in the source's order: 0, a lesion's number, or the label of what is around them.
        findings: what the labels are of.
        algorithm: what found them.

    Returns:
        The data set, ready to be saved.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues

    dataset: Dataset = Segmentation(
        source_images=list(origin.headers),
        pixel_array=labels if labels.dtype.kind == "u" else labels.astype(np.uint16),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_describe_segments(findings, algorithm),
        series_instance_uid=make_uid(algorithm.job, "segmentation series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=findings.instance_uid(algorithm, "segmentation"),
        instance_number=findings.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.network,
        software_versions=algorithm.version,
        device_serial_number=algorithm.version,
        content_description=SHORT_DISCLAIMER,
        content_label="LESIONS",
        content_creator_name=None if findings.observation is None else findings.observation.reader,
        series_description=f"metseg: lesions ({RESEARCH_ONLY.lower()})",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=bool(labels.any()),
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


def tracking_identifier(lesion: Lesion, algorithm: AlgorithmRun) -> tuple[str, str]:
    """The tracking identifier and tracking UID of a lesion, in the segmentation and in the report.

    The UID follows from the lesion's peak, so that it stays the same when a review changes the numbers.

    Args:
        lesion: the lesion.
        algorithm: what found it.

    Returns:
        The identifier and the UID.
    """
    return lesion.label or f"Lesion {lesion.number}", make_uid(algorithm.job, "lesion", *lesion.peak)


def _describe_segments(findings: Findings, algorithm: AlgorithmRun) -> list[Any]:
    """A segment of each lesion, at least one; and one of what is around them."""
    from pydicom.sr.codedict import codes

    lesion_type = codes.SCT.Neoplasm if findings.of_core else codes.SCT.Lesion
    segments = [
        _describe_segment(
            lesion.number, tracking_identifier(lesion, algorithm), lesion_type, algorithm, lesion.outlined_by
        )
        for lesion in findings.lesions
    ]
    if findings.abnormality_mm3:
        observation = findings.observation
        origin: OutlinedBy = "both" if observation is not None and observation.changed_whole else "model"
        identity = abnormality_identifier(algorithm)
        segments.append(_describe_segment(len(segments) + 1, identity, codes.SCT.Edema, algorithm, origin))
    return segments or [_describe_segment(1, no_lesion_identifier(algorithm), lesion_type, algorithm, "model")]


def no_lesion_identifier(algorithm: AlgorithmRun) -> tuple[str, str]:
    """The tracking identifier and tracking UID of an empty segment."""
    return "No lesion", make_uid(algorithm.job, "no lesion")


def abnormality_identifier(algorithm: AlgorithmRun) -> tuple[str, str]:
    """The tracking identifier and tracking UID of the abnormality around the core."""
    return "FLAIR abnormality", make_uid(algorithm.job, "abnormality")


def _describe_segment(
    number: int, identity: tuple[str, str], kind: Code, algorithm: AlgorithmRun, origin: OutlinedBy
) -> Any:  # noqa: ANN401 (highdicom is imported where it is needed)
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    identifier, tracking_uid = identity
    identification = AlgorithmIdentificationSequence(
        name=f"{MANUFACTURER} {algorithm.network}",
        family=codes.cid7162.ArtificialIntelligence,
        version=algorithm.version,
        source=MANUFACTURER,
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=identifier,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues(ALGORITHM_TYPES[origin]),
        algorithm_identification=None if origin == "reader" else identification,
        tracking_uid=tracking_uid,
        tracking_id=identifier,
        anatomic_regions=[codes.SCT.Brain],
        display_color=CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
    )

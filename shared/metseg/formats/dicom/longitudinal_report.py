"""Structured report of a follow-up by TID 1500: each lesion at each date, under one tracking identifier.

A measurement group (TID 1411) has its date as time point context (TID 1502). The tracking UID is that of the lesion in
the segmentation of the first study that shows it, so that it stays the same in every follow-up that begins there. At a
date at which a lesion is gone a group says that it is absent. The report belongs to the last study.
"""

from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, Lesion
from metseg.errors import NotAvailable
from metseg.formats.dicom.results import to_bytes
from metseg.formats.dicom.segmentation import MANUFACTURER, AlgorithmRun, Observation, tracking_identifier
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.structured_report import (
    ABSENT,
    MR_OF_BRAIN,
    PRESENCE,
    describe_observers,
    measurement_group,
    referenced_segment,
    sizes_of,
)
from metseg.formats.dicom.uids import make_uid

__all__ = ["DatedStudy", "FollowedLesion", "read_segmentation_header", "write_longitudinal_report"]

SERIES_NUMBER = 9003
OTHER_PATIENT = "The studies have different patients in their DICOM headers, so no DICOM report can name one."


class DatedStudy(NamedTuple):
    """A study of a follow-up.

    Attributes:
        name: its date, or its place.
        origin: its source images.
        segmentation: its SEG, without pixels.
        algorithm: what found its lesions.
        observation: of the person who reviewed them; None if nobody has.
    """

    name: str
    origin: SourceImages
    segmentation: Dataset
    algorithm: AlgorithmRun
    observation: Observation | None


class FollowedLesion(NamedTuple):
    """A lesion over all dates.

    Attributes:
        name: of the lesion in the follow-up.
        lesions: by study; None where there is none.
        gone: by study: whether the scan shows its place without it.
    """

    name: str
    lesions: Sequence[Lesion | None]
    gone: Sequence[bool]


def read_segmentation_header(stream: BinaryIO) -> Dataset:
    """A SEG without its pixels.

    Args:
        stream: of the file from its start.
    """
    return dcmread(stream, stop_before_pixels=True)


def write_longitudinal_report(
    follow_up_id: str, studies: Sequence[DatedStudy], followed: Sequence[FollowedLesion], *, of_core: bool
) -> bytes:
    """Write the report.

    Args:
        follow_up_id: of the follow-up; the identifiers of the instance follow from it.
        studies: oldest first.
        followed: the lesions, one at least.
        of_core: whether they are of the core.

    Returns:
        The file.

    Raises:
        NotAvailable: the headers of the studies name different patients.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport
    from pydicom.sr.codedict import codes

    if len({_patient(study) for study in studies}) > 1:
        raise NotAvailable(OTHER_PATIENT)
    last = studies[-1]
    kind = codes.SCT.Neoplasm if of_core else codes.SCT.Lesion
    groups = [group for lesion in followed for group in _groups(lesion, studies, kind)]
    content = MeasurementReport(
        observation_context=describe_observers(last.algorithm, last.observation),
        procedure_reported=MR_OF_BRAIN,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    newest_first = list(reversed(studies))
    document = Comprehensive3DSR(
        evidence=[one for study in newest_first for one in (*study.origin.headers, study.segmentation)],
        content=content,
        series_instance_uid=make_uid(follow_up_id, "report series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=make_uid(follow_up_id, "report"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=last.algorithm.network,
        software_versions=last.algorithm.version,
        device_serial_number=last.algorithm.version,
        series_description=f"metseg: follow-up ({RESEARCH_ONLY.lower()})",
    )
    document.CompletionFlagDescription = SHORT_DISCLAIMER
    return to_bytes(document)


def _patient(study: DatedStudy) -> tuple[str, str]:
    header = study.origin.headers[0]
    return str(header.PatientID), str(header.get("IssuerOfPatientID") or "")


def _groups(followed: FollowedLesion, studies: Sequence[DatedStudy], kind: Any) -> list[Any]:  # noqa: ANN401
    """The groups of a lesion, one for each date at which it is there or gone."""
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TimePointContext,
        TrackingIdentifier,
    )

    first, lesion = next((place, lesion) for place, lesion in enumerate(followed.lesions) if lesion is not None)
    _, tracking_uid = tracking_identifier(lesion, studies[first].algorithm)
    identity = (followed.name, tracking_uid)
    groups = []
    for place, (study, here) in enumerate(zip(studies, followed.lesions, strict=True)):
        time_point = TimePointContext(time_point=study.name, time_point_order=place + 1)
        if here is not None:
            segment = referenced_segment(study.segmentation, here.number)
            algorithm = None if here.outlined_by == "reader" else study.algorithm
            groups.append(measurement_group(segment, identity, kind, sizes_of(here), algorithm, time_point=time_point))
        elif followed.gone[place]:
            groups.append(
                MeasurementsAndQualitativeEvaluations(
                    tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=followed.name),
                    time_point_context=time_point,
                    finding_type=kind,
                    qualitative_evaluations=[QualitativeEvaluation(name=PRESENCE, value=ABSENT)],
                )
            )
    return groups

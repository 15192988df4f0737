"""Structured report by TID 1500: the measurements of each lesion, for other programs.

A lesion is one measurement group (TID 1411) with its tracking identifier, its segment in the SEG and through it the
source images, its volume, and its diameters as RANO-BM defines them: the longest in a slice, and the longest
perpendicular to it. Codes are SNOMED CT's and DICOM's, units UCUM's. Where nothing was found the report says that
lesions are absent.
"""

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, Lesion
from metseg.formats.dicom.image_planes import functional_group
from metseg.formats.dicom.segmentation import (
    MANUFACTURER,
    AlgorithmRun,
    Findings,
    Observation,
    abnormality_identifier,
    no_lesion_identifier,
    tracking_identifier,
)
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.uids import make_uid

__all__ = [
    "ABSENT",
    "MR_OF_BRAIN",
    "PRESENCE",
    "build_report",
    "describe_observers",
    "measurement_group",
    "referenced_segment",
    "sizes_of",
]

SERIES_NUMBER = 9002
MR_OF_BRAIN = Code("24590-2", "LN", "MR Brain")
PRESENCE = Code("705057003", "SCT", "Presence")
ABSENT = Code("2667000", "SCT", "Absent")
Sizes = Sequence[tuple[Code, float | None, Code]]
"""Names, values and units."""


def build_report(origin: SourceImages, segmentation: Dataset, findings: Findings, algorithm: AlgorithmRun) -> Dataset:
    """Build the report of a result.

    Args:
        origin: the source images.
        segmentation: of the same result.
        findings: lesions with sizes in millimetres.
        algorithm: what found them.

    Returns:
        The data set, ready to be saved.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport
    from pydicom.sr.codedict import codes

    content = MeasurementReport(
        observation_context=describe_observers(algorithm, findings.observation),
        procedure_reported=MR_OF_BRAIN,
        imaging_measurements=_measurements(segmentation, findings, algorithm),
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = Comprehensive3DSR(
        evidence=[*origin.headers, segmentation],
        content=content,
        series_instance_uid=make_uid(algorithm.job, "report series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=findings.instance_uid(algorithm, "report"),
        instance_number=findings.instance_number,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=algorithm.network,
        software_versions=algorithm.version,
        device_serial_number=algorithm.version,
        series_description=f"metseg: measurements ({RESEARCH_ONLY.lower()})",
    )
    document.CompletionFlagDescription = SHORT_DISCLAIMER
    return document


def describe_observers(algorithm: AlgorithmRun, observation: Observation | None) -> Any:  # noqa: ANN401 (highdicom is imported where it is needed)
    """The observers (TID 1001): the device that found the lesions, and the person who reviewed them.

    Args:
        algorithm: of the device.
        observation: of the person; None if nobody has reviewed them.

    Returns:
        highdicom's context.
    """
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=make_uid("device", algorithm.version),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=algorithm.network,
        serial_number=algorithm.version,
    )
    person = None if observation is None else ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=observation.reader),
    )  # fmt: skip
    return ObservationContext(
        observer_person_context=person,
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device),
    )


def sizes_of(lesion: Lesion) -> Sizes:
    """The sizes of a lesion that a report has, each with its name and unit."""
    from pydicom.sr.codedict import codes

    return (
        (codes.SCT.Volume, lesion.volume_mm3, codes.UCUM.CubicMillimeter),
        (codes.SCT.LongAxis, lesion.long_diameter_mm, codes.UCUM.Millimeter),
        (codes.SCT.ShortAxis, lesion.perpendicular_diameter_mm, codes.UCUM.Millimeter),
    )


def _measurements(segmentation: Dataset, findings: Findings, algorithm: AlgorithmRun) -> list[Any]:
    """A group for each lesion, or one which says that there is none; and one for the abnormality around them."""
    from pydicom.sr.codedict import codes

    kind = codes.SCT.Neoplasm if findings.of_core else codes.SCT.Lesion
    groups = [
        measurement_group(
            referenced_segment(segmentation, lesion.number),
            tracking_identifier(lesion, algorithm),
            kind,
            sizes_of(lesion),
            None if lesion.outlined_by == "reader" else algorithm,
        )
        for lesion in findings.lesions
    ] or [_nothing(kind, algorithm)]
    if findings.abnormality_mm3:
        segment = referenced_segment(segmentation, len(findings.lesions) + 1)
        sizes = ((codes.SCT.Volume, findings.abnormality_mm3, codes.UCUM.CubicMillimeter),)
        groups.append(measurement_group(segment, abnormality_identifier(algorithm), codes.SCT.Edema, sizes, algorithm))
    return groups


def measurement_group(
    segment: Any,  # noqa: ANN401
    identity: tuple[str, str],
    kind: Code,
    sizes: Sizes,
    algorithm: AlgorithmRun | None,
    *,
    time_point: Any = None,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """A measurement group.

    Args:
        segment: as from `referenced_segment`.
        identity: the tracking identifier and the tracking UID.
        kind: of the finding.
        sizes: that were measured; unknown ones are left out.
        algorithm: None where a person alone outlined the region.
        time_point: highdicom's context, of a follow-up.

    Returns:
        highdicom's group.
    """
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        Measurement,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    identifier, tracking_uid = identity
    identification = None if algorithm is None else AlgorithmIdentification(
        name=f"{MANUFACTURER} {algorithm.network}", version=algorithm.version
    )  # fmt: skip
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=identifier),
        referenced_segment=segment,
        time_point_context=time_point,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=kind,
        finding_sites=[FindingSite(anatomic_location=codes.SCT.Brain)],
        algorithm_id=identification,
        measurements=[
            Measurement(name=name, value=float(f"{value:.6g}"), unit=unit)
            for name, value, unit in sizes
            if value is not None
        ],
    )


def referenced_segment(segmentation: Dataset, number: int) -> Any:  # noqa: ANN401
    """A segment with the source images of its frames.

    What all frames share is stored separately, including the segment's number where there is only one; highdicom's
    own search for a segment's frames does not look there.

    Args:
        segmentation: the SEG.
        number: of the segment.

    Returns:
        highdicom's reference.
    """
    from highdicom.sr import ReferencedSegment, SourceImageForSegmentation

    shared = segmentation.SharedFunctionalGroupsSequence[0]
    sources: dict[tuple[str, str], list[Any]] = {}
    for own in segmentation.PerFrameFunctionalGroupsSequence:
        if functional_group(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber != number:
            continue
        source = functional_group(own, shared, "DerivationImageSequence").SourceImageSequence[0]
        kind, instance = source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID
        sources.setdefault((kind, instance), []).append(source.get("ReferencedFrameNumber"))
    return ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=[
            SourceImageForSegmentation(kind, instance, None if None in numbers else [int(each) for each in numbers])
            for (kind, instance), numbers in sources.items()
        ],
    )


def _nothing(kind: Code, algorithm: AlgorithmRun) -> Any:  # noqa: ANN401
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, QualitativeEvaluation, TrackingIdentifier

    identifier, tracking_uid = no_lesion_identifier(algorithm)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=identifier),
        finding_type=kind,
        qualitative_evaluations=[QualitativeEvaluation(name=PRESENCE, value=ABSENT)],
    )

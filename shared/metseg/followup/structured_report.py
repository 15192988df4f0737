"""The DICOM structured report of a follow-up, of studies that were all uploaded as DICOM."""

from typing import BinaryIO

from metseg.contracts import LesionTrack
from metseg.errors import NotAvailable, NotFound
from metseg.followup.names import study_name
from metseg.followup.report import FinishedFollowUp
from metseg.formats import dicom
from metseg.results.exports import SOURCE_HEADERS, FinishedJob
from metseg.results.review import UNNAMED_READER

__all__ = ["write_follow_up_sr"]

NOT_DICOM = "A DICOM report needs studies that were all uploaded as DICOM, with all attributes that it refers to."
NO_LESION = "No lesion was outlined at any date, so there is nothing to report."


def write_follow_up_sr(follow_up: FinishedFollowUp, target: BinaryIO) -> None:
    """Write the report of a follow-up.

    Args:
        follow_up: what is reported.
        target: where the file is written.

    Raises:
        NotAvailable: a study was not uploaded as DICOM, or its headers name another patient; or there is no lesion.
    """
    result = follow_up.result
    if not result.tracks:
        raise NotAvailable(NO_LESION)
    names = [study_name(place, study) for place, study in enumerate(result.studies, start=1)]
    try:
        studies = [_dated(name, job) for name, job in zip(names, follow_up.studies, strict=True)]
    except NotFound as error:
        raise NotAvailable(NOT_DICOM) from error
    lesions = [_followed(track, follow_up) for track in result.tracks]
    of_core = result.structure == "core"
    target.write(dicom.write_longitudinal_report(follow_up.follow_up_id, studies, lesions, of_core=of_core))


def _dated(name: str, job: FinishedJob) -> dicom.DatedStudy:
    """A study with its headers and its SEG; NotFound where it was not uploaded as DICOM."""
    result = job.result()
    with job.open_artefact(SOURCE_HEADERS) as stored:
        origin = dicom.read_source_archive(stored)
    with job.open_artefact(dicom.SEGMENTATION_FILE) as stored:
        segmentation = dicom.read_segmentation_header(stored)
    algorithm = dicom.AlgorithmRun(result.network, result.model_version, result.job_id)
    review = result.review
    observation = None
    if review is not None:
        observation = dicom.Observation(review.number, review.reviewed_by or UNNAMED_READER, changed_whole=False)
    return dicom.DatedStudy(name, origin, segmentation, algorithm, observation)


def _followed(track: LesionTrack, follow_up: FinishedFollowUp) -> dicom.FollowedLesion:
    by_number = [{lesion.number: lesion for lesion in job.result().lesions} for job in follow_up.studies]
    return dicom.FollowedLesion(
        name=track.label or f"Lesion {track.track}",
        lesions=[
            None if one is None or one.lesion is None else lesions[one.lesion]
            for one, lesions in zip(track.measurements, by_number, strict=True)
        ],
        gone=[one is not None and one.state == "gone" for one in track.measurements],
    )

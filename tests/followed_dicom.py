"""A follow-up of two DICOM studies of one phantom: the largest lesion stays, the others are gone."""

import io

from tests.dicoms import volume_of
from tests.finished_jobs import PhantomJob, planned

from metseg.contracts import FollowedStudy, FollowUpResult, LesionTrack, TrackMeasurement
from metseg.followup import FinishedFollowUp, write_follow_up_sr
from metseg.formats import dicom
from metseg.imaging import label_lesions
from metseg.phantom import head
from metseg.phantom.dicom import study_files

FOLLOW_UP_ID = "3" * 32


def dicom_job(word: str, *, keep: int | None = None) -> PhantomJob:
    """A finished job of a study with the UIDs of that word, with all lesions or the first ones."""
    phantom = head(5, slices=20, size_px=64)
    labels = label_lesions(phantom.mask)
    mask = (labels > 0) if keep is None else (labels > 0) & (labels <= keep)
    volume = volume_of(study_files(phantom, word))
    job = planned(volume, mask)
    job.figures = job.figures.model_copy(update={"job_id": word.encode().hex().ljust(32, "0")})
    algorithm = dicom.AlgorithmRun(job.figures.network, job.figures.model_version, job.figures.job_id)
    files, _ = dicom.write_results(volume, label_lesions(mask), job.figures.lesions, algorithm)
    job.artefacts |= files
    return job


def followed(*jobs: PhantomJob) -> FinishedFollowUp:
    """The follow-up of jobs of `dicom_job`, in which lesions keep their numbers."""
    studies = [
        FollowedStudy(job_id=job.figures.job_id, model_version="m", lesions=len(job.figures.lesions), volume_mm3=1.0)
        for job in jobs
    ]
    by_number = [{lesion.number: lesion for lesion in job.figures.lesions} for job in jobs]
    tracks = [
        LesionTrack(track=number, target=False, measurements=[_measured(each.get(number)) for each in by_number])
        for number in by_number[0]
    ]
    result = FollowUpResult(structure="core", studies=studies, tracks=tracks, warnings=[], durations_s={})
    return FinishedFollowUp(FOLLOW_UP_ID, None, result, jobs)


def _measured(lesion) -> TrackMeasurement:
    state = "gone" if lesion is None else "stable"
    number = None if lesion is None else lesion.number
    return TrackMeasurement(lesion=number, state=state, target=False, volume_mm3=0, long_diameter_mm=0)


def report_of(follow_up: FinishedFollowUp) -> bytes:
    """Its structured report."""
    target = io.BytesIO()
    write_follow_up_sr(follow_up, target)
    return target.getvalue()

"""A follow-up, from the results of its studies in the store to its own. No queue, no state."""

import time
from collections.abc import Callable, Mapping
from datetime import date
from io import BytesIO

import numpy as np

from metseg.contracts import FollowUpResult, Request, Result
from metseg.errors import NotComparable, NotFinished
from metseg.followup import TimePoint, check_comparable, compare_studies
from metseg.formats import StoredSlices
from metseg.imaging import CHANNELS, ROLES, Affine, Array, LabelMap, Present, Shape, decode_slice, present_sequences
from metseg.jobs.artefacts import RESULT, Results, read_artefact
from metseg.jobs.reviews import JobReviews
from metseg.jobs.store import JobStore, parse_record
from metseg.results import SLICE_ARCHIVE, SliceArchive
from metseg.results.exports import LESIONS
from metseg.storage import ObjectStore

__all__ = ["process_follow_up"]


def process_follow_up(
    request: Request, objects: ObjectStore, threads: int, on_progress: Callable[[int, int], None]
) -> tuple[FollowUpResult, Mapping[str, bytes]]:
    """Compare the studies of a follow-up as they are now: with their reviews, where they have been reviewed.

    Args:
        request: as accepted.
        objects: where the results of the studies are.
        threads: for resampling.
        on_progress: called after each study with the number of studies done and in all; an exception stops the work.

    Returns:
        The result, and the artefacts by name.

    Raises:
        NotFound: a study has been deleted.
        NotFinished: a study has no result.
        NotComparable: the studies cannot be compared.
    """
    started = time.perf_counter()
    jobs = JobStore(objects)
    reader = _StudyReader(objects, jobs, JobReviews(objects, jobs))
    requests = [jobs.request(job_id) for job_id in request.studies]
    found_in = [reader.results(job_id) for job_id in request.studies]  # once: a reader may review meanwhile
    results = [reader.result(one) for one in found_in]
    check_comparable(results, [one.taken_on for one in requests], [one.patient for one in requests])
    studies = [
        reader.read(result, stored, one.taken_on)
        for result, stored, one in zip(results, found_in, requests, strict=True)
    ]
    loaded_s = round(time.perf_counter() - started, 3)
    found = compare_studies(studies, threads, on_progress)
    return found.model_copy(update={"durations_s": {"load": loaded_s, **found.durations_s}}), {}


class _StudyReader:
    """Reads studies as a reader sees them: reviewed, if they have been."""

    def __init__(self, objects: ObjectStore, jobs: JobStore, reviews: JobReviews) -> None:
        self._objects, self._jobs, self._reviews = objects, jobs, reviews

    def results(self, job_id: str) -> Results:
        """Where the artefacts of a study are; NotFound, NotFinished."""
        _, own = self._jobs.job_and_results(job_id)
        if own is None:
            raise NotFinished("A study of the follow-up has no result.")
        return self._reviews.reviewed(job_id, own)

    def result(self, results: Results) -> Result:
        """The figures of a study."""
        return parse_record(Result, read_artefact(self._objects, results, RESULT))

    def read(self, result: Result, results: Results, taken_on: date | None) -> TimePoint:
        """A study with its pixels.

        Args:
            result: its figures.
            results: where its artefacts are.
            taken_on: its date, where known.

        Returns:
            The study at its date.
        """
        labels, affine = _read_labels(read_artefact(self._objects, results, LESIONS))
        if affine is None:
            raise NotComparable("A study has no position in the patient; nothing was compared.")
        pixels = _read_slices(read_artefact(self._objects, results, SLICE_ARCHIVE), result.shape)
        return TimePoint(result, labels, pixels, _present(result, pixels), affine, taken_on)


def _read_labels(content: bytes) -> tuple[LabelMap, Affine | None]:
    stored = StoredSlices(BytesIO(content))
    return stored.read_all(np.int32), stored.affine


def _read_slices(content: bytes, shape: Shape) -> Array:
    """uint8, (slice, row, column, channel)."""
    archive = SliceArchive(BytesIO(content))
    pixels = np.empty((*shape, len(CHANNELS)), np.uint8)
    for index, target in enumerate(pixels):
        target[:] = decode_slice(archive.read_slice(index), shape[1:])
    return pixels


def _present(result: Result, pixels: Array) -> Present:
    """Which channels hold a separate sequence; of a study of one grey image, the one that it is."""
    present = present_sequences(pixels)
    if sum(present) == 1 and len(result.identified) == 1:
        pre, flair, post = (role in result.identified for role in ROLES)
        return pre, flair, post
    return present

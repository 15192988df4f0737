"""The studies of a follow-up, as they are read from the store."""

from datetime import UTC, datetime

import numpy as np
import pytest
from tests.followed import AFTER, BEFORE, A, outcome
from tests.visits import scan

from metseg.contracts import InputFile, Job, JobStatus, Request, Review, ReviewRecord
from metseg.formats import write_labels
from metseg.jobs import JobReviews, process_follow_up
from metseg.jobs.store import JobStore
from metseg.storage import LocalFolderStore

NOW = datetime(2026, 4, 6, tzinfo=UTC)
INPUT = InputFile(name="a.png", key="a", size_bytes=1, sha256="0")
IDS = [f"{number:012x}7{'0' * 19}" for number in (1, 2)]


class ReviewedWhileRead(LocalFolderStore):
    """A store in which a reader rejects all lesions of each study once its figures have been read."""

    def get(self, key, first=0, count=None):
        content = super().get(key, first, count)
        if "/results/" in key and first == 0:
            reject_all(self, key.split("/")[1])
        return content


def reject_all(objects, job_id):
    jobs = JobStore(objects)
    visit = scan([(A, 12.0)], BEFORE if job_id == IDS[0] else AFTER)
    result, _ = outcome(job_id, visit)
    nothing = np.zeros(visit.mask.shape, np.int32)
    artefacts = {"lesions.nii.gz": write_labels(nothing, nothing.shape, 0, visit.scanner.spacing_mm, visit.affine)}
    record = ReviewRecord(number=1, reviewed_at=NOW, review=Review(), model_version=result.model_version)
    JobReviews(objects, jobs).add(job_id, record, result.model_copy(update={"lesions": []}), artefacts)


@pytest.fixture
def objects(tmp_path):
    """Two visits of a patient with one lesion."""
    store = ReviewedWhileRead(tmp_path)
    store.prepare(7)
    jobs = JobStore(store)
    for job_id, scanner in zip(IDS, (BEFORE, AFTER), strict=True):
        result, artefacts = outcome(job_id, scan([(A, 12.0)], scanner))
        jobs.put_request(Request(id=job_id, created_at=NOW, inputs=[INPUT]))
        written = jobs.put_results(job_id, "results/first", result, artefacts)
        job = Job(id=job_id, status=JobStatus.SUCCEEDED, created_at=NOW, files=1)
        assert jobs.put_end(job, "results/first", written)
    return store


def test_a_review_meanwhile_does_not_mix_with_the_figures_that_were_read(objects):
    request = Request(id=f"{3:012x}8{'0' * 19}", created_at=NOW, studies=IDS)
    found, _ = process_follow_up(request, objects, 1, lambda done, total: None)
    [track] = found.tracks
    assert track.measurements[1].state == "stable"

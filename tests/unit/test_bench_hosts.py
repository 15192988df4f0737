"""The bench of several hosts would notice a job that is lost, has two results or is damaged."""

import gzip
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from tests.bench import ends
from tests.bench.relay import DelayLine
from tests.bench.worker_log import Attempt, attempts, queued_again

from metseg.contracts import Job, JobStatus
from metseg.jobs import new_job_id
from metseg.jobs.store import JobStore
from metseg.storage import LocalFolderStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RESULTS = f"results/{'0' * 32}"


def _line(second: int, message: str, **extra: str) -> str:
    return json.dumps({"time": f"2026-01-01T00:00:{second:02d}+00:00", "message": message, **extra})


def test_a_frame_arrives_after_its_delay_and_in_its_order():
    line = DelayLine()
    line.delay_s = 0.02
    assert line.next_at() is None
    line.send(b"first", 1.0)
    line.send(b"second", 1.01)
    assert line.next_at() == pytest.approx(1.02)
    assert list(line.arrived(1.019)) == []
    assert list(line.arrived(1.025)) == [b"first"]
    assert list(line.arrived(2.0)) == [b"second"]


def test_a_frame_overtakes_none_when_the_delay_becomes_shorter():
    line = DelayLine()
    line.delay_s = 0.02
    line.send(b"first", 1.0)
    line.delay_s = 0.001
    line.send(b"second", 1.001)
    assert list(line.arrived(1.01)) == []
    assert list(line.arrived(1.02)) == [b"first", b"second"]


def test_a_job_that_a_worker_began_twice_has_two_attempts():
    log = "\n".join(
        [
            _line(1, "job begun", job="a"),
            _line(2, "job begun", job="b"),
            _line(3, "job ended", job="b"),
            _line(4, "job b was lost and is queued again"),
            "Traceback (most recent call last):",
            _line(5, "job begun", job="b"),
            '{"time": "2026-01-',
        ]
    )
    start = NOW.timestamp()
    assert attempts(log) == [
        Attempt("a", start + 1, None),
        Attempt("b", start + 2, start + 3),
        Attempt("b", start + 5, None),
    ]
    assert queued_again(log) == {"b": start + 4}


@pytest.fixture
def store(tmp_path):
    folder = LocalFolderStore(tmp_path)
    folder.prepare(7)
    return folder


@pytest.fixture
def check(store, monkeypatch):
    """Check some jobs, as their clients see them, against the store."""
    monkeypatch.setattr(ends, "LATE_S", 0)

    def run(*jobs: Job) -> dict[str, int]:
        states = {job.id: job for job in jobs}
        client = SimpleNamespace(job=lambda job_id, wait_s: states[job_id])
        return ends.counts(ends.checked(store, client, [*states], time.time()))

    return run


def _job(status: JobStatus = JobStatus.SUCCEEDED) -> Job:
    return Job(id=new_job_id(), status=status, created_at=NOW, finished_at=NOW if status.final else None, files=1)


def _end(store: LocalFolderStore, mask: bytes = b"mask") -> Job:
    """A job that succeeded."""
    job, jobs = _job(), JobStore(store)
    written = jobs.put_results(job.id, RESULTS, job, {ends.MASK: gzip.compress(mask)})
    jobs.put_end(job, RESULTS, written)
    return job


def test_jobs_that_succeeded_once_have_no_complaint(store, check):
    none = {"failed": 0, "lost": 0, "two results": 0, "damaged": 0}
    assert check(_end(store), _end(store)) == {"accepted": 2, "succeeded": 2, **none}


def test_a_job_without_an_end_is_lost(store, check):
    assert check(_end(store), _job(JobStatus.RUNNING))["lost"] == 1


def test_results_of_two_attempts_are_noticed(store, check):
    job = _end(store)
    store.put(f"jobs/{job.id}/results/{'1' * 32}", b"of another attempt")
    assert check(job)["two results"] == 1


def test_an_artefact_unlike_its_digest_is_damaged(store, check):
    job = _end(store)
    key = f"jobs/{job.id}/{RESULTS}"
    store.put(key, store.get(key)[:-1] + b"x")
    assert check(job)["damaged"] == 1


def test_a_mask_unlike_the_others_of_the_same_study_is_damaged(store, check):
    assert check(_end(store), _end(store, b"other"))["damaged"] == 1

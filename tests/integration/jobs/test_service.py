"""The gateway's side of jobs: what 202 promises, what a client then sees, and behaviour during outages."""

import json
import threading
import time

import pytest
from tests.gateways import begin
from tests.integration.deployments import Interfering, in_a_folder, result_of, submit, upload
from tests.servers import free_ports

from metseg.contracts import JobStatus, Problem
from metseg.errors import (
    BadInput,
    NotFinished,
    NotFound,
    QueueUnavailable,
    StoreUnavailable,
)


def finish(worker, job_id, model="20260101-000000-tiny"):
    assert begin(worker, job_id) is not None
    worker.finish(job_id, result_of(job_id, model), {"mask.nii.gz": b"mask", "probability.nii.gz": b"png"})


def done_soon(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


# Submitting


def test_a_submitted_job_is_queued_and_stored(here, jobs):
    request = upload(jobs)
    job = jobs.submit(request)
    assert (job.id, job.status, job.files, job.queue_position) == (request.id, JobStatus.QUEUED, 1, 1)
    assert jobs.get(job.id) == job
    assert jobs.request(job.id) == request
    assert here.keys(job.id) == ["input/0000", "request.json", "open/ID"]


def test_the_message_names_the_job_and_nothing_of_the_patient(here, jobs):
    job = submit(jobs)
    [message] = here.client().lrange("metseg", 0, -1)
    assert json.loads(message)["headers"]["id"] == job.id
    assert json.loads(message)["content-type"] == "application/json"
    assert "DOE" not in message


def test_queue_positions_count_the_jobs_before(here, jobs, worker):
    ids = [submit(jobs).id for _ in range(3)]
    assert [jobs.get(job_id).queue_position for job_id in ids] == [1, 2, 3]
    assert jobs.queue_status().waiting == 3
    begin(worker, ids[0])
    assert [jobs.get(job_id).queue_position for job_id in ids] == [None, 1, 2]
    assert jobs.queue_status().waiting == 2


@in_a_folder
@pytest.mark.parametrize("job_id", ["", "0" * 32, "../models", "0" * 31, "A" * 32, "0" * 33, "x" * 32])
def test_an_unknown_job_is_not_found_by_any_call(jobs, job_id):
    calls = [jobs.get, jobs.request, jobs.result, jobs.delete, lambda name: jobs.wait(name, 1)]
    for call in calls:
        with pytest.raises(NotFound):
            call(job_id)


def test_an_invalid_id_makes_no_key(jobs):
    with pytest.raises(NotFound):
        jobs.results("../models")
    with pytest.raises(NotFound):
        jobs.input_key("x", 0)


@in_a_folder
def test_a_submission_with_redis_down_fails_fast_and_leaves_nothing(here, jobs, maintenance):
    with here.redis.down():
        request = upload(jobs)
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            jobs.submit(request)
        assert time.monotonic() - begun < 8
        with pytest.raises(QueueUnavailable):
            jobs.check()
        with pytest.raises(QueueUnavailable):
            jobs.queue_status()
    assert list(here.store.list("jobs/")) == []
    jobs.check()
    assert (jobs.queue_status().waiting, maintenance.recover(), jobs.page(9, None).jobs) == (0, 0, [])


@in_a_folder
def test_a_submission_with_redis_hung_fails_fast_and_leaves_nothing(here, jobs):
    with here.redis.paused():
        request = upload(jobs)
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            jobs.submit(request)
        assert time.monotonic() - begun < 8
    assert list(here.store.list("jobs/")) == []


@in_a_folder
def test_calls_after_a_hang_fail_at_once_and_soon_work_again(here, jobs):
    with here.redis.paused():
        with pytest.raises(QueueUnavailable):
            jobs.check()
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            jobs.check()
        assert time.monotonic() - begun < 0.5
    time.sleep(1.1)
    jobs.check()


def test_a_failed_publish_leaves_nothing(here):
    jobs = here.service(broker_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    with pytest.raises(QueueUnavailable):
        submit(jobs)
    assert list(here.store.list("jobs/")) == []
    assert jobs.queue_status().waiting == 0
    assert jobs.page(9, None).jobs == []


def away() -> None:
    raise StoreUnavailable("away")


@pytest.mark.parametrize("folder", ["jobs", "open"])
def test_an_incomplete_upload_makes_no_job(here, folder, maintenance):
    jobs = here.service(Interfering(here.store, folder, before=away))
    with pytest.raises(StoreUnavailable):
        upload(jobs)
    assert list(here.store.list(f"{folder}/")) == []
    assert not any(info.key.endswith("request.json") for info in here.store.list("jobs/"))
    assert maintenance.recover() == 0
    assert jobs.page(9, None).jobs == []


def test_a_submission_with_the_store_down_is_never_queued(here):
    jobs = here.service(Interfering(here.store, "request.json", before=away))
    with pytest.raises(StoreUnavailable):
        submit(jobs)
    assert list(here.store.list("jobs/")) == []
    assert here.client().llen("metseg") == 0
    assert jobs.queue_status().waiting == 0


def test_a_discarded_upload_leaves_nothing(here, jobs):
    request = upload(jobs)
    jobs.discard(request.id)
    jobs.discard(request.id)
    assert list(here.store.list("jobs/")) == []


# Reading


@in_a_folder
def test_a_job_can_be_looked_up_with_redis_down(here, jobs):
    job = submit(jobs)
    with here.redis.down():
        assert jobs.get(job.id) == job.model_copy(update={"queue_position": None})
    assert jobs.get(job.id) == job


def test_a_result_exists_only_after_success(here, jobs, worker):
    job = submit(jobs)
    with pytest.raises(NotFinished, match="queued"):
        jobs.result(job.id)
    begin(worker, job.id)
    with pytest.raises(NotFinished, match="running"):
        jobs.result(job.id)
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.result(job.id) == result_of(job.id)


def test_a_failed_job_has_a_problem_and_no_result(here, jobs, worker):
    job = submit(jobs)
    begin(worker, job.id)
    worker.fail(job.id, Problem.of(BadInput("It cannot be read.")))
    seen = jobs.get(job.id)
    assert (seen.status, seen.problem.detail) == (JobStatus.FAILED, "It cannot be read.")
    assert seen.finished_at is not None
    with pytest.raises(NotFinished, match="failed"):
        jobs.result(job.id)


# Waiting


@in_a_folder
def test_a_wait_ends_as_soon_as_the_job_does(here, jobs, worker):
    job = submit(jobs)
    finisher = threading.Timer(0.4, finish, [worker, job.id])
    finisher.start()
    begun = time.monotonic()
    seen = jobs.wait(job.id, 10)
    assert time.monotonic() - begun < 8
    finisher.join()
    assert seen.status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_wait_reads_the_store_only_a_few_times(here, monkeypatch):
    gets = []

    class Counting:
        def __getattr__(self, name):
            return getattr(here.store, name)

        def get(self, key):
            gets.append(key)
            return here.store.get(key)

    jobs = here.service(Counting())
    job = submit(jobs)
    begun = time.monotonic()
    assert jobs.wait(job.id, 1.5).status is JobStatus.QUEUED
    assert 1.4 < time.monotonic() - begun < 8
    assert len(gets) <= 4  # two per read


@in_a_folder
def test_a_wait_for_a_final_job_returns_at_once(here, jobs, worker):
    job = submit(jobs)
    finish(worker, job.id)
    begun = time.monotonic()
    assert jobs.wait(job.id, 10).status is JobStatus.SUCCEEDED
    assert time.monotonic() - begun < 5


@in_a_folder
def test_a_wait_of_zero_returns_the_current_state(here, jobs):
    job = submit(jobs)
    begun = time.monotonic()
    assert jobs.wait(job.id, 0) == job
    assert time.monotonic() - begun < 5


@in_a_folder
def test_a_wait_for_a_job_deleted_meanwhile_ends_as_not_found(here, jobs):
    job = submit(jobs)
    deleter = threading.Timer(0.3, here.service().delete, [job.id])
    deleter.start()
    begun = time.monotonic()
    with pytest.raises(NotFound):
        jobs.wait(job.id, 10)
    assert time.monotonic() - begun < 8
    deleter.join()


@in_a_folder
def test_a_wait_survives_a_redis_outage_and_sees_the_end(here, jobs, worker):
    job = submit(jobs)
    begin(worker, job.id)
    seen = []
    waiter = done_soon(lambda: seen.append(jobs.wait(job.id, 10)))
    time.sleep(0.2)
    with here.redis.down():
        worker.finish(job.id, result_of(job.id), {})
        waiter.join(timeout=9)
    assert [job.status for job in seen] == [JobStatus.SUCCEEDED]


@in_a_folder
def test_a_wait_with_redis_down_ends_in_time(here, jobs):
    job = submit(jobs)
    with here.redis.down():
        begun = time.monotonic()
        assert jobs.wait(job.id, 1.2).status is JobStatus.QUEUED
        assert 1.1 < time.monotonic() - begun < 8


# Deleting


def test_a_deleted_queued_job_never_starts(here, jobs, worker):
    job = submit(jobs)
    jobs.delete(job.id)
    assert (here.keys(job.id), jobs.queue_status().waiting, jobs.page(9, None).jobs) == ([], 0, [])
    for call in (jobs.get, jobs.delete):
        with pytest.raises(NotFound):
            call(job.id)
    assert begin(worker, job.id) is None
    assert here.keys(job.id) == []


def test_a_delete_removes_results_and_no_other_job(here, jobs, worker):
    job, other = submit(jobs), submit(jobs)
    finish(worker, job.id)
    jobs.delete(job.id)
    assert here.keys(job.id) == []
    assert jobs.get(other.id).status is JobStatus.QUEUED


def test_a_job_can_be_deleted_with_redis_down_and_stays_deleted(here, jobs, worker, maintenance):
    job = submit(jobs)
    with here.redis.down():
        jobs.delete(job.id)
    assert here.keys(job.id) == []
    assert begin(worker, job.id) is None
    assert jobs.page(9, None).jobs == []
    assert maintenance.recover() == 0

"""The worker's side of jobs: one attempt at a time, one result, no deleted job that returns."""

import contextlib
import threading
import time

import pytest
from tests.gateways import begin
from tests.integration.deployments import (
    ARTEFACTS,
    LEASE_TTL_S,
    PROBLEM,
    WHOLE,
    Interfering,
    in_a_folder,
    kill,
    result_of,
)
from tests.stored_results import stored_artefact

from metseg.contracts import JobStatus, Progress
from metseg.errors import Cancelled, NotFound, StoreUnavailable
from metseg.jobs import MAX_ATTEMPTS

# One attempt


def test_a_leased_job_runs_and_reports_progress(jobs, worker, job):
    request = begin(worker, job.id)
    assert request == jobs.request(job.id)
    seen = jobs.get(job.id)
    assert (seen.status, seen.attempts, seen.progress) == (JobStatus.RUNNING, 1, None)
    assert seen.started_at is not None
    worker.report_progress(job.id, 3, 7)
    assert jobs.get(job.id).progress == Progress(done=3, total=7)


def test_a_lease_returns_the_request_before_the_start_is_recorded(here, jobs, job):
    worker = here.runner()
    request = worker.lease(job.id)
    assert request == jobs.request(job.id)
    assert (jobs.get(job.id).status, jobs.get(job.id).attempts) == (JobStatus.QUEUED, 0)
    assert worker.start(job.id)
    assert (jobs.get(job.id).status, jobs.get(job.id).attempts) == (JobStatus.RUNNING, 1)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert here.runner().lease(job.id) is None, "nothing is fetched for a job that has ended"


def test_a_succeeded_job_has_its_result_and_artefacts(here, jobs, worker, job):
    begin(worker, job.id)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    seen = jobs.get(job.id)
    assert (seen.status, seen.model_version, seen.progress) == (JobStatus.SUCCEEDED, "20260101-000000-tiny", None)
    assert seen.created_at <= seen.started_at <= seen.finished_at
    assert here.keys(job.id) == WHOLE
    assert stored_artefact(jobs, job.id, "mask.nii.gz") == b"mask"


def test_a_job_succeeds_only_after_its_results_are_written(here, jobs, job):
    seen = []

    def look():
        seen.append(jobs.get(job.id).status)

    worker = here.runner(Interfering(here.store, "/results/", before=look, after=look))
    begin(worker, job.id)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert seen == [JobStatus.RUNNING, JobStatus.RUNNING]


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_a_redelivered_message_of_a_final_job_does_nothing(jobs, worker, other, job, end, maintenance):
    begin(worker, job.id)
    if end == "finish":
        worker.finish(job.id, result_of(job.id), {})
    else:
        worker.fail(job.id, PROBLEM)
    before = jobs.get(job.id)
    assert begin(worker, job.id) is None
    assert begin(other, job.id) is None
    assert jobs.get(job.id) == before
    assert maintenance.recover() == 0


def test_an_end_is_written_once(jobs, worker, job):
    begin(worker, job.id)
    worker.finish(job.id, result_of(job.id), {})
    before = jobs.get(job.id)
    worker.fail(job.id, PROBLEM)
    worker.finish(job.id, result_of(job.id, "20260102-000000-other"), {})
    assert jobs.get(job.id) == before
    assert jobs.result(job.id).model_version == "20260101-000000-tiny"


def test_only_the_holder_of_the_lease_can_end_a_job(jobs, other, job):
    other.finish(job.id, result_of(job.id), {})
    other.fail(job.id, PROBLEM)
    with pytest.raises(Cancelled):
        other.report_progress(job.id, 1, 2)
    assert jobs.get(job.id).status is JobStatus.QUEUED


@in_a_folder
@pytest.mark.parametrize("job_id", ["0" * 32, "../models", ""])
def test_an_unknown_job_cannot_be_leased(worker, job_id):
    assert begin(worker, job_id) is None


# Two workers


def test_a_live_worker_keeps_its_job(here, jobs, worker, other, job):
    begin(worker, job.id)
    begun = time.monotonic()
    assert begin(other, job.id) is None
    assert time.monotonic() - begun < LEASE_TTL_S
    assert jobs.get(job.id).attempts == 1


@in_a_folder
def test_a_slow_slice_does_not_lose_the_lease(jobs, worker, other, job):
    begin(worker, job.id)
    time.sleep(3 * LEASE_TTL_S)
    assert begin(other, job.id) is None
    worker.report_progress(job.id, 1, 2)


@in_a_folder
def test_only_one_of_many_workers_gets_a_job(here, jobs, job):
    workers = [here.runner() for _ in range(8)]
    requests = []
    barrier = threading.Barrier(len(workers))

    def race(worker):
        barrier.wait()
        requests.append(begin(worker, job.id))

    threads = [threading.Thread(target=race, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(request is not None for request in requests) == 1
    assert jobs.get(job.id).attempts == 1


@in_a_folder
def test_threads_of_one_worker_do_not_share_a_job(worker, job):
    requests = []
    threads = [threading.Thread(target=lambda: requests.append(begin(worker, job.id))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(request is not None for request in requests) == 1
    worker.report_progress(job.id, 1, 1)


def test_a_dead_workers_job_is_taken_over_by_the_very_next_message(jobs, worker, other, job):
    begin(worker, job.id)
    kill(worker)
    begun = time.monotonic()
    assert begin(other, job.id) is not None
    assert time.monotonic() - begun < 2 * LEASE_TTL_S
    assert jobs.get(job.id).attempts == 2
    other.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_paused_worker_that_lost_its_lease_writes_nothing(jobs, worker, other, job):
    begin(worker, job.id)
    worker._attempts[job.id].lease._stop.set()  # like SIGSTOP to its thread
    assert begin(other, job.id) is not None
    worker.finish(job.id, result_of(job.id, "20260102-000000-paused"), {})
    assert jobs.get(job.id).status is JobStatus.RUNNING
    other.finish(job.id, result_of(job.id), {})
    assert jobs.result(job.id).model_version == "20260101-000000-tiny"


@in_a_folder
def test_a_worker_that_resumes_after_another_finished_changes_nothing(here, jobs, worker, other, job):
    begin(worker, job.id)
    worker._attempts[job.id].lease._stop.set()
    here.redis.flush()
    begin(other, job.id)
    other.finish(job.id, result_of(job.id), ARTEFACTS)
    before = jobs.get(job.id)
    worker.finish(job.id, result_of(job.id, "20260102-000000-paused"), {})
    assert jobs.get(job.id) == before
    assert jobs.result(job.id).model_version == "20260101-000000-tiny"


def test_the_first_of_two_ends_counts(here, jobs, other, job):
    def overtaken():
        here.redis.flush()
        assert begin(other, job.id) is not None
        other.finish(job.id, result_of(job.id), ARTEFACTS)

    worker = here.runner(Interfering(here.store, "/results/", before=overtaken))
    begin(worker, job.id)
    worker._attempts[job.id].lease._stop.set()
    worker.finish(job.id, result_of(job.id, "20260102-000000-late"), {"mask.nii.gz": b"another mask"})
    assert jobs.result(job.id).model_version == jobs.get(job.id).model_version == "20260101-000000-tiny"
    assert stored_artefact(jobs, job.id, "mask.nii.gz") == b"mask"
    assert here.keys(job.id) == WHOLE


def test_a_failure_after_the_result_changes_nothing(here, jobs, other, job):
    def overtaken():
        here.redis.flush()
        begin(other, job.id)
        other.finish(job.id, result_of(job.id), ARTEFACTS)

    worker = here.runner(Interfering(here.store, "end.json", before=overtaken))
    begin(worker, job.id)
    worker._attempts[job.id].lease._stop.set()
    worker.fail(job.id, PROBLEM)
    seen = jobs.get(job.id)
    assert (seen.status, seen.problem) == (JobStatus.SUCCEEDED, None)


@in_a_folder
def test_a_lease_released_before_the_start_costs_no_attempt(jobs, worker, other, job):
    begin(worker, job.id)
    worker.release(job.id)
    assert other.lease(job.id) is not None
    other.give_back(job.id)
    assert jobs.get(job.id).attempts == 1


@in_a_folder
def test_a_released_attempt_does_not_count(here, jobs, job):
    for _ in range(MAX_ATTEMPTS + 1):
        worker = here.runner()
        assert begin(worker, job.id) is not None
        worker.give_back(job.id)
    assert jobs.get(job.id).attempts == 0


@in_a_folder
def test_a_release_waits_for_the_store_but_not_for_ever(here, jobs, job, monkeypatch):
    tries = []

    def away():
        tries.append(len(tries))
        if 1 < len(tries) < 4:
            raise StoreUnavailable("away")

    worker = here.runner(Interfering(here.store, "open/", before=away))
    begin(worker, job.id)
    worker.give_back(job.id, sleep=lambda _: None)
    assert jobs.get(job.id).attempts == 0
    monkeypatch.setattr("metseg.jobs.runner.STORE_WAIT_S", 0)
    tries.clear()
    begin(worker, job.id)
    worker.give_back(job.id, sleep=lambda _: None)
    assert jobs.get(job.id).attempts == 1
    assert begin(here.runner(), job.id) is not None


@in_a_folder
def test_releasing_a_deleted_job_leaves_nothing(here, jobs, worker, job):
    begin(worker, job.id)
    with here.redis.down():
        jobs.delete(job.id)
        worker.give_back(job.id)
    assert here.keys(job.id) == []


@in_a_folder
def test_a_job_starts_although_redis_misses_it(here, jobs, worker, job):
    with contextlib.ExitStack() as outage:
        isolated = here.runner(Interfering(here.store, "open/", after=lambda: outage.enter_context(here.redis.down())))
        assert begin(isolated, job.id) is not None
    assert jobs.get(job.id).attempts == 1
    isolated.release(job.id)
    begin(worker, job.id)
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_worker_whose_job_was_taken_over_must_stop(worker, other, job):
    begin(worker, job.id)
    worker._attempts[job.id].lease._stop.set()
    begin(other, job.id)
    with pytest.raises(Cancelled):
        worker.report_progress(job.id, 1, 2)
    other.report_progress(job.id, 1, 2)


@in_a_folder
def test_a_poisoned_input_fails_and_is_not_retried(jobs, here, job):
    for attempt in range(1, MAX_ATTEMPTS + 1):
        victim = here.runner()
        assert begin(victim, job.id) is not None
        assert jobs.get(job.id).attempts == attempt
        kill(victim)
    assert begin(here.runner(), job.id) is None
    seen = jobs.get(job.id)
    assert (seen.status, seen.problem.type) == (JobStatus.FAILED, "/problems/poisoned-input")
    assert seen.attempts == MAX_ATTEMPTS


def test_a_released_job_is_queued_again(jobs, worker, other, job, maintenance):
    forgotten = begin(worker, job.id)
    worker.release(job.id)
    worker.release(job.id)
    with pytest.raises(Cancelled):
        worker.report_progress(job.id, 1, 2)
    assert jobs.get(job.id).status is JobStatus.RUNNING
    maintenance.recover()
    assert begin(other, job.id) == forgotten


# Deleting while it runs


def test_a_running_job_that_is_deleted_leaves_nothing(here, jobs, worker, job):
    begin(worker, job.id)
    worker.report_progress(job.id, 1, 9)
    jobs.delete(job.id)
    with pytest.raises(Cancelled):
        worker.report_progress(job.id, 2, 9)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    worker.fail(job.id, PROBLEM)
    assert here.keys(job.id) == []
    with pytest.raises(NotFound):
        jobs.get(job.id)


@pytest.mark.parametrize("name", ["end.json", "/results/"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("redis_up", [True, False], ids=["with Redis", "without Redis"])
@in_a_folder
def test_a_delete_at_any_moment_of_the_finish_leaves_nothing(here, jobs, job, name, moment, redis_up):
    deleted = []

    def delete():
        deleted.append(True)
        jobs.delete(job.id)

    worker = here.runner(Interfering(here.store, name, **{moment: delete}))
    begin(worker, job.id)
    assert here.keys(job.id) == ["input/0000", "request.json", "open/ID"]
    if redis_up:
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
    else:
        with here.redis.down():
            worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert deleted == [True]
    assert here.keys(job.id) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_delete_during_the_start_leaves_nothing(here, jobs, job, moment):
    def delete():
        with contextlib.suppress(NotFound):  # the worker marks what it deletes, where the call comes again
            jobs.delete(job.id)

    worker = here.runner(Interfering(here.store, "open/", **{moment: delete}))
    assert begin(worker, job.id) is None
    assert here.keys(job.id) == []


@in_a_folder
def test_a_finish_during_a_delete_leaves_nothing(here, worker, job):
    class Slow:
        """Deletes a folder as S3 does: first lists, then removes what was listed."""

        def __getattr__(self, name):
            return getattr(here.store, name)

        def delete(self, prefix):
            listed = [info.key for info in here.store.list(prefix)]
            if prefix == f"jobs/{job.id}":
                with here.redis.down():
                    worker.finish(job.id, result_of(job.id), ARTEFACTS)
            for key in listed:
                here.store.delete(key)

    begin(worker, job.id)
    here.service(Slow()).delete(job.id)
    assert here.keys(job.id) == []


@in_a_folder
def test_a_job_deleted_during_a_redis_outage_stays_deleted(here, jobs, worker, job):
    begin(worker, job.id)
    with here.redis.down():
        jobs.delete(job.id)
    here.redis.flush()
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert here.keys(job.id) == []

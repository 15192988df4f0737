"""Failures of a worker, the store or Redis midway, after which every job still ends."""

import threading
import time
from datetime import datetime, timedelta

import pytest
from tests.gateways import begin
from tests.integration.deployments import (
    ARTEFACTS,
    LEASE_TTL_S,
    WHOLE,
    Interfering,
    in_a_folder,
    kill,
    result_of,
    submit,
)
from tests.servers import talk, wait_until
from tests.stored_results import stored_artefact

from metseg.contracts import JobStatus
from metseg.errors import QueueUnavailable, StoreUnavailable


def forget_messages(here):
    here.client().delete("metseg")


# Failures midway


@pytest.mark.parametrize("name", ["end.json", "/results/"])
def test_a_finish_interrupted_by_the_store_is_repeated_whole(here, jobs, other, job, name, maintenance):
    broken = []

    def away():
        if broken:
            raise StoreUnavailable("away")

    worker = here.runner(Interfering(here.store, name, before=away))
    begin(worker, job.id)
    broken.append(True)
    with pytest.raises(StoreUnavailable):
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert jobs.get(job.id).status is JobStatus.RUNNING
    forget_messages(here)
    assert maintenance.recover() == 1
    if begin(other, job.id) is not None:
        other.finish(job.id, result_of(job.id), ARTEFACTS)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    assert sorted(set(here.keys(job.id))) == WHOLE
    assert stored_artefact(jobs, job.id, "mask.nii.gz") == b"mask"


def test_results_of_a_worker_that_died_before_the_commit_do_not_count(here, jobs, other, job):
    def die():
        raise KeyboardInterrupt

    worker = here.runner(Interfering(here.store, "/results/", after=die))
    begin(worker, job.id)
    with pytest.raises(KeyboardInterrupt):
        worker.finish(job.id, result_of(job.id), {"mask.nii.gz": b"unsaid"})
    assert jobs.get(job.id).status is JobStatus.RUNNING
    assert begin(other, job.id) is not None
    other.finish(job.id, result_of(job.id), ARTEFACTS)
    assert (jobs.get(job.id).status, jobs.get(job.id).attempts) == (JobStatus.SUCCEEDED, 2)
    assert stored_artefact(jobs, job.id, "mask.nii.gz") == b"mask"


def test_a_lease_interrupted_by_the_store_is_released(here, jobs, other, job):
    def away():
        raise StoreUnavailable("away")

    worker = here.runner(Interfering(here.store, "open/", before=away))
    with pytest.raises(StoreUnavailable):
        begin(worker, job.id)
    assert begin(other, job.id) is not None
    assert jobs.get(job.id).attempts == 1


@in_a_folder
def test_a_lease_needs_redis(here, worker, job):
    with here.redis.down(), pytest.raises(QueueUnavailable):
        begin(worker, job.id)


@in_a_folder
def test_a_running_job_survives_a_redis_outage(here, jobs, worker, job, maintenance):
    begin(worker, job.id)
    with here.redis.down():
        worker.report_progress(job.id, 1, 2)
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
        assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    assert maintenance.recover() == 0
    assert jobs.queue_status().waiting == 0


@in_a_folder
def test_a_running_job_survives_a_redis_flush(here, jobs, worker, other, job, maintenance):
    begin(worker, job.id)
    here.redis.flush()
    worker.report_progress(job.id, 1, 2)
    assert maintenance.recover() == 0
    assert begin(other, job.id) is None
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_lease_is_renewed_soon_after_redis_lost_it(here, worker, other, job):
    begin(worker, job.id)
    here.redis.flush()
    wait_until(lambda: b"$-1" not in talk(here.redis.port, f"GET metseg:{job.id}:lease\r\n".encode()), LEASE_TTL_S)
    assert begin(other, job.id) is None


@in_a_folder
def test_a_lease_ends_after_the_longest_attempt(here, jobs, other, job):
    worker = here.runner()
    worker._max_attempt_s = 0
    begin(worker, job.id)
    assert begin(other, job.id) is not None


# Recovery


def test_after_a_redis_flush_each_job_is_queued_once_and_in_order(here, jobs, worker, maintenance):
    ids = []
    for _ in range(4):
        ids.append(submit(jobs).id)
        time.sleep(0.002)
    begin(worker, ids[0])
    worker.finish(ids[0], result_of(ids[0]), {})
    begin(worker, ids[1])
    worker.report_progress(ids[1], 1, 2)
    here.redis.flush()
    wait_until(lambda: here.client().exists(f"metseg:{ids[1]}:lease") == 1, LEASE_TTL_S)
    time.sleep(LEASE_TTL_S)  # so recent a job may still be in transit to the queue
    assert maintenance.recover() == 2
    assert maintenance.recover() == 0
    assert [jobs.get(job_id).queue_position for job_id in ids] == [None, None, 1, 2]
    assert here.client().llen("metseg") == 2
    for job_id in ids[2:]:
        assert begin(worker, job_id) is not None


@in_a_folder
def test_a_running_job_that_redis_lost_is_monitored_again(here, jobs, worker, job, maintenance):
    begin(worker, job.id)
    here.redis.flush()
    worker.report_progress(job.id, 1, 2)
    assert maintenance.recover() == 0
    kill(worker)
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 1


@in_a_folder
def test_a_job_that_lost_only_its_message_is_queued_again(here, jobs, worker, job, maintenance):
    forget_messages(here)
    assert maintenance.recover() == 0  # it may be in transit to a worker
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 1
    assert jobs.get(job.id).queue_position == 1
    assert begin(worker, job.id) is not None


@in_a_folder
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_lost_job_is_found_by_a_worker_whose_clock_is_wrong(here, jobs, job, hours, monkeypatch, maintenance):
    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    forget_messages(here)
    monkeypatch.setattr("metseg.jobs.maintenance.datetime", Wrong)
    assert maintenance.recover() == 1
    assert jobs.get(job.id).queue_position == 1


@in_a_folder
def test_a_dead_workers_job_is_shown_as_queued_again(here, jobs, worker, job, maintenance):
    begin(worker, job.id)
    forget_messages(here)
    kill(worker)
    assert maintenance.recover() == 0
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 1
    seen = jobs.get(job.id)
    assert (seen.status, seen.queue_position, seen.attempts) == (JobStatus.QUEUED, 1, 1)


@in_a_folder
def test_a_job_in_the_queue_is_not_queued_twice(here, jobs, job, maintenance):
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 0
    assert here.client().llen("metseg") == 1


@in_a_folder
def test_only_one_of_many_recoveries_requeues_a_job(here, job):
    forget_messages(here)
    time.sleep(LEASE_TTL_S)
    counts = []
    everyone = [here.maintenance() for _ in range(6)]
    threads = [threading.Thread(target=lambda each=each: counts.append(each.recover())) for each in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 1
    assert here.client().llen("metseg") == 1


@in_a_folder
def test_a_stored_job_that_was_never_queued_is_recovered(here, jobs, maintenance):
    def die():
        raise KeyboardInterrupt

    gateway = here.service(Interfering(here.store, "request.json", after=die))
    maintenance.recover()
    with pytest.raises(KeyboardInterrupt):
        submit(gateway)
    here.client().delete("metseg:scanned")  # ten minutes later
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 1
    assert jobs.page(9, None).jobs[0].queue_position == 1


@in_a_folder
def test_recovery_between_scans_does_not_read_jobs_that_are_attended(here, jobs, worker, maintenance):
    done, running, _waiting = submit(jobs), submit(jobs), submit(jobs)
    for each in (done, running):
        begin(worker, each.id)
    worker.finish(done.id, result_of(done.id), {})
    maintenance.recover()

    class Unasked:
        def __getattr__(self, name):
            raise AssertionError(name)

    assert here.maintenance(Unasked()).recover() == 0


@in_a_folder
def test_recovery_forgets_expired_jobs_and_closes_ended_ones(here, jobs, worker, maintenance):
    expired, ended = submit(jobs), submit(jobs)
    maintenance.recover()
    for top in ("jobs", "open"):
        here.store.delete(f"{top}/{expired.id}")
    begin(worker, ended.id)
    with here.redis.down():
        worker.finish(ended.id, result_of(ended.id), {})
    assert here.client().scard("metseg:open") == 2
    here.client().delete("metseg:scanned")  # ten minutes later
    assert maintenance.recover() == 0
    assert here.client().scard("metseg:open") == 0
    assert jobs.queue_status().waiting == 0


@in_a_folder
def test_recovery_needs_redis(here, jobs, job, maintenance):
    with here.redis.down(), pytest.raises(QueueUnavailable):
        maintenance.recover()

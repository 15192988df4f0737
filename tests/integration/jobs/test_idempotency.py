"""Idempotency keys: one job per key, however often it is sent."""

import os
import threading
import time

import pytest
from tests.integration.deployments import in_a_folder, upload

from metseg.contracts import JobStatus
from metseg.errors import Conflict, IdempotencyConflict
from metseg.jobs import new_job_id
from metseg.jobs.expiry import CLOCK
from metseg.jobs.idempotency import CRASHED_S, DAY_S, hash_key


@in_a_folder
def test_a_new_key_belongs_to_its_job(here, jobs):
    request = upload(jobs)
    assert jobs.acquire_key("key", "body", request.id) == request.id


@in_a_folder
def test_the_same_key_and_body_lead_to_the_first_job(here, jobs):
    first = upload(jobs)
    jobs.acquire_key("key", "body", first.id)
    jobs.submit(first)
    assert here.service().acquire_key("key", "body", new_job_id()) == first.id
    assert jobs.acquire_key("other-key", "body", "0" * 32) == "0" * 32


@in_a_folder
def test_the_same_key_with_another_body_is_a_conflict(here, jobs):
    first = upload(jobs)
    jobs.acquire_key("key", "body", first.id)
    jobs.submit(first)
    with pytest.raises(IdempotencyConflict):
        jobs.acquire_key("key", "other body", new_job_id())


@in_a_folder
def test_a_key_survives_a_redis_restart(here, jobs):
    first = upload(jobs)
    jobs.acquire_key("key", "body", first.id)
    jobs.submit(first)
    with here.redis.down():
        pass
    assert jobs.acquire_key("key", "body", new_job_id()) == first.id


@in_a_folder
def test_a_second_submission_waits_until_the_first_is_accepted(here, jobs):
    first = upload(jobs)
    jobs.acquire_key("key", "body", first.id)
    submitter = threading.Timer(0.3, here.service().submit, [first])
    submitter.start()
    assert jobs.acquire_key("key", "body", new_job_id()) == first.id
    submitter.join()
    assert jobs.get(first.id).status is JobStatus.QUEUED


@in_a_folder
@pytest.mark.parametrize("end", ["discard", "delete"])
def test_a_key_is_free_once_its_job_is_gone(here, jobs, end):
    first = upload(jobs, holds="key")
    jobs.acquire_key("key", "body", first.id)
    if end == "delete":
        jobs.submit(first)
        jobs.delete(first.id)
    else:
        jobs.discard(first.id, "key")
    second = new_job_id()
    assert jobs.acquire_key("key", "other body", second) == second


@in_a_folder
def test_a_key_left_by_a_crashed_gateway_is_taken_over(here, jobs, monkeypatch):
    crashed, second = new_job_id(), new_job_id()
    jobs.acquire_key("key", "body", crashed)
    later = time.time() + CRASHED_S + 1
    monkeypatch.setattr("metseg.jobs.idempotency.time.time", lambda: later)
    assert jobs.acquire_key("key", "body", second) == second


@in_a_folder
def test_only_one_submission_takes_over_a_key(here, jobs, monkeypatch):
    monkeypatch.setattr("metseg.jobs.idempotency.MAX_WAIT_S", 0.2)
    jobs.acquire_key("key", "body", new_job_id())
    later = time.time() + CRASHED_S + 1
    monkeypatch.setattr("metseg.jobs.idempotency.time.time", lambda: later)
    assert sorted(race_for_a_key(here)) == [False] * 7 + [True]


@in_a_folder
def test_a_key_whose_submission_hangs_becomes_a_conflict(here, jobs, monkeypatch):
    monkeypatch.setattr("metseg.jobs.idempotency.MAX_WAIT_S", 0.2)
    jobs.acquire_key("key", "body", new_job_id())
    with pytest.raises(Conflict):
        jobs.acquire_key("key", "body", new_job_id())


def race_for_a_key(here):
    everyone = [here.service() for _ in range(8)]
    barrier = threading.Barrier(len(everyone))
    holders = []

    def race(jobs):
        mine = new_job_id()
        barrier.wait()
        try:
            holders.append(jobs.acquire_key("key", "body", mine) == mine)
        except Conflict:
            holders.append(False)

    threads = [threading.Thread(target=race, args=[jobs]) for jobs in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return holders


@in_a_folder
def test_only_one_of_many_submissions_holds_a_key(here, monkeypatch):
    monkeypatch.setattr("metseg.jobs.idempotency.MAX_WAIT_S", 0.2)
    assert sorted(race_for_a_key(here)) == [False] * 7 + [True]


@in_a_folder
def test_a_key_survives_a_redis_flush(here, jobs):
    first = upload(jobs)
    jobs.acquire_key("key", "body", first.id)
    jobs.submit(first)
    here.redis.flush()
    assert here.service().acquire_key("key", "body", new_job_id()) == first.id
    with pytest.raises(IdempotencyConflict):
        here.service().acquire_key("key", "other body", new_job_id())


@in_a_folder
def test_a_key_holds_for_one_day(here, jobs, monkeypatch):
    first, now = upload(jobs), time.time()
    jobs.acquire_key("key", "body", first.id)
    jobs.submit(first)
    monkeypatch.setattr("metseg.jobs.idempotency.time.time", lambda: now + DAY_S - 60)
    assert jobs.acquire_key("key", "body", new_job_id()) == first.id
    monkeypatch.setattr("metseg.jobs.idempotency.time.time", lambda: now + DAY_S + 60)
    second = new_job_id()
    assert jobs.acquire_key("key", "other body", second) == second


@in_a_folder
def test_old_keys_are_deleted(here, jobs, maintenance, monkeypatch):
    jobs.acquire_key("0old", "body", new_job_id())
    jobs.acquire_key("0young", "body", new_job_id())
    os.utime(here.store._root / "keys/0old", (0, 0))
    monkeypatch.setattr("metseg.jobs.idempotency.DIGITS", 1)  # else each hour another first digit is looked at
    maintenance.expire()
    assert len(list(here.store.list("keys/"))) == 2  # the clock is not yet known to be steady
    here.store.put(CLOCK, b'{"jumped_at": "2026-01-01T00:00:00Z"}')
    maintenance.expire()
    assert [info.key for info in here.store.list("keys/")] == ["keys/0young"]


def test_a_key_is_stored_as_a_hash():
    assert "DOE" not in hash_key("DOE-JOHN-1970").upper()


@in_a_folder
def test_an_undeletable_key_is_a_conflict_after_few_requests(here, jobs, monkeypatch):
    monkeypatch.setattr("metseg.jobs.idempotency.MAX_WAIT_S", 0.5)
    jobs.acquire_key("key", "body", new_job_id())
    later = time.time() + CRASHED_S + 1
    monkeypatch.setattr("metseg.jobs.idempotency.time.time", lambda: later)
    requests = []

    class Undeletable:
        """A store that counts its calls, and deletes nothing."""

        def __getattr__(self, name):
            if name in ("create", "get", "stat", "delete"):
                requests.append(name)
            return (lambda prefix: None) if name == "delete" else getattr(here.store, name)

    service = here.service(Undeletable())
    with pytest.raises(Conflict):
        service.acquire_key("key", "body", new_job_id())
    assert len(requests) < 100

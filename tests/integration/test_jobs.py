"""The gateway's side of jobs: what 202 promises, what a client then sees, and what is left when something is down."""

import json
import os
import threading
import time

import pytest
from tests.integration.deployments import Interfering, deployment, result_of, submit, upload
from tests.servers import free_ports

from metseg.contracts import JobStatus, Problem
from metseg.errors import (
    BadInput,
    Conflict,
    IdempotencyConflict,
    NotFinished,
    NotFound,
    QueueUnavailable,
    StoreUnavailable,
)
from metseg.idempotency import CRASHED_S
from metseg.objects import DirectoryStore

in_a_folder = pytest.mark.parametrize("store", ["directory"], indirect=True)  # the store makes no difference here


@pytest.fixture
def here(store, redis):
    with deployment(store, redis) as here:
        yield here


@pytest.fixture
def jobs(here):
    return here.jobs()


@pytest.fixture
def worker(here):
    return here.jobs()


def finish(worker, job_id, model="20260101-000000-tiny"):
    assert worker.claim(job_id) is not None
    worker.finish(job_id, result_of(job_id, model), {"mask.nii.gz": b"mask", "overlays/0000.png": b"png"})


def done_soon(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


# Submitting


def test_a_submitted_job_waits_and_lies_in_the_store(here, jobs):
    request = upload(jobs, here.store)
    job = jobs.submit(request)
    assert (job.id, job.status, job.files, job.queue_position) == (request.id, JobStatus.QUEUED, 1, 1)
    assert jobs.get(job.id) == job
    assert jobs.request(job.id) == request
    assert here.keys(job.id) == ["input/0000", "job.json", "request.json"]


def test_the_message_names_the_job_and_nothing_of_the_patient(here, jobs):
    job = submit(jobs, here.store)
    [message] = here.client().lrange("metseg", 0, -1)
    assert json.loads(message)["headers"]["id"] == job.id
    assert json.loads(message)["content-type"] == "application/json"
    assert "DOE" not in message


def test_positions_count_those_before(here, jobs, worker):
    ids = [submit(jobs, here.store).id for _ in range(3)]
    assert [jobs.get(job_id).queue_position for job_id in ids] == [1, 2, 3]
    assert jobs.depth() == 3
    worker.claim(ids[0])
    assert [jobs.get(job_id).queue_position for job_id in ids] == [None, 1, 2]
    assert jobs.depth() == 2


def test_ids_are_unguessable_and_sort_by_time(jobs):
    ids = []
    for _ in range(5):
        ids.append(jobs.new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({job_id[13:] for job_id in ids}) == 5
    assert {len(job_id) for job_id in ids} == {32}


@in_a_folder
@pytest.mark.parametrize("job_id", ["", "0" * 32, "../models", "0" * 31, "A" * 32, "0" * 33, "x" * 32])
def test_an_unknown_job_is_not_found_by_any_call(jobs, job_id):
    calls = [jobs.get, jobs.request, jobs.result, jobs.delete, lambda name: jobs.wait(name, 1)]
    for call in calls:
        with pytest.raises(NotFound):
            call(job_id)


def test_no_key_is_made_for_what_is_no_id(jobs):
    with pytest.raises(NotFound):
        jobs.artefact_key("../models", "champion.json")
    with pytest.raises(NotFound):
        jobs.input_key("x", 0)


@in_a_folder
def test_with_redis_down_a_submission_is_refused_quickly_and_nothing_is_left(here, jobs):
    with here.redis.down():
        request = upload(jobs, here.store)
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            jobs.submit(request)
        assert time.monotonic() - begun < 3
        with pytest.raises(QueueUnavailable):
            jobs.check()
        with pytest.raises(QueueUnavailable):
            jobs.depth()
    assert list(here.store.list("jobs/")) == []
    jobs.check()
    assert (jobs.depth(), jobs.recover(), jobs.page(9, None).jobs) == (0, 0, [])


@in_a_folder
def test_with_redis_hanging_a_submission_is_refused_quickly_and_nothing_is_left(here, jobs):
    with here.redis.paused():
        request = upload(jobs, here.store)
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            jobs.submit(request)
        assert time.monotonic() - begun < 3
    assert list(here.store.list("jobs/")) == []


@in_a_folder
def test_after_a_hang_the_next_calls_fail_at_once_and_soon_work_again(here, jobs):
    with here.redis.paused():
        with pytest.raises(QueueUnavailable):
            jobs.check()
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            jobs.check()
        assert time.monotonic() - begun < 0.1
    time.sleep(1.1)
    jobs.check()


def test_a_publish_that_fails_leaves_nothing(here):
    jobs = here.jobs(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")  # the broker's, not the client's
    with pytest.raises(QueueUnavailable):
        submit(jobs, here.store)
    assert list(here.store.list("jobs/")) == []
    assert jobs.depth() == 0
    assert jobs.page(9, None).jobs == []


@pytest.mark.parametrize("name", ["job.json", "request.json"])
def test_with_the_store_down_a_submission_is_refused_and_never_queued(here, name):
    def away():
        raise StoreUnavailable("away")

    jobs = here.jobs(Interfering(here.store, name, before=away))
    with pytest.raises(StoreUnavailable):
        submit(jobs, here.store)
    assert list(here.store.list("jobs/")) == []
    assert here.client().llen("metseg") == 0
    assert jobs.depth() == 0


def test_discarding_an_upload_leaves_nothing(here, jobs):
    request = upload(jobs, here.store)
    jobs.discard(request.id)
    jobs.discard(request.id)
    assert list(here.store.list("jobs/")) == []


# Looking


@in_a_folder
def test_a_job_can_be_looked_up_with_redis_down(here, jobs):
    job = submit(jobs, here.store)
    with here.redis.down():
        assert jobs.get(job.id) == job.model_copy(update={"queue_position": None})
    assert jobs.get(job.id) == job


def test_a_result_is_given_only_once_the_job_succeeded(here, jobs, worker):
    job = submit(jobs, here.store)
    with pytest.raises(NotFinished, match="queued"):
        jobs.result(job.id)
    worker.claim(job.id)
    with pytest.raises(NotFinished, match="running"):
        jobs.result(job.id)
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.result(job.id) == result_of(job.id)


def test_a_failed_job_has_a_problem_and_no_result(here, jobs, worker):
    job = submit(jobs, here.store)
    worker.claim(job.id)
    worker.fail(job.id, Problem.of(BadInput("It cannot be read.")))
    seen = jobs.get(job.id)
    assert (seen.status, seen.problem.detail) == (JobStatus.FAILED, "It cannot be read.")
    assert seen.finished_at is not None
    with pytest.raises(NotFinished, match="failed"):
        jobs.result(job.id)


# Waiting


@in_a_folder
def test_a_wait_ends_as_soon_as_the_job_does(here, jobs, worker):
    job = submit(jobs, here.store)
    finisher = threading.Timer(0.4, finish, [worker, job.id])
    finisher.start()
    begun = time.monotonic()
    seen = jobs.wait(job.id, 10)
    assert time.monotonic() - begun < 2
    finisher.join()
    assert seen.status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_wait_asks_the_store_a_few_times_only(here, monkeypatch):
    gets = []

    class Counting:
        def __getattr__(self, name):
            return getattr(here.store, name)

        def get(self, key):
            gets.append(key)
            return here.store.get(key)

    jobs = here.jobs(Counting())
    job = submit(jobs, here.store)
    begun = time.monotonic()
    assert jobs.wait(job.id, 1.5).status is JobStatus.QUEUED
    assert 1.4 < time.monotonic() - begun < 2.5
    assert len(gets) <= 4


@in_a_folder
def test_a_wait_for_a_final_job_returns_at_once(here, jobs, worker):
    job = submit(jobs, here.store)
    finish(worker, job.id)
    begun = time.monotonic()
    assert jobs.wait(job.id, 10).status is JobStatus.SUCCEEDED
    assert time.monotonic() - begun < 0.5


@in_a_folder
def test_waiting_no_time_is_a_look(here, jobs):
    job = submit(jobs, here.store)
    begun = time.monotonic()
    assert jobs.wait(job.id, 0) == job
    assert time.monotonic() - begun < 0.5


@in_a_folder
def test_a_wait_for_a_job_that_is_deleted_meanwhile_ends_as_not_found(here, jobs):
    job = submit(jobs, here.store)
    deleter = threading.Timer(0.3, here.jobs().delete, [job.id])
    deleter.start()
    begun = time.monotonic()
    with pytest.raises(NotFound):
        jobs.wait(job.id, 10)
    assert time.monotonic() - begun < 2
    deleter.join()


@in_a_folder
def test_a_wait_survives_that_redis_goes_away_and_still_sees_the_end(here, jobs, worker):
    job = submit(jobs, here.store)
    worker.claim(job.id)
    seen = []
    waiter = done_soon(lambda: seen.append(jobs.wait(job.id, 10)))
    time.sleep(0.2)
    with here.redis.down():
        worker.finish(job.id, result_of(job.id), {})
        waiter.join(timeout=4)
    assert [job.status for job in seen] == [JobStatus.SUCCEEDED]


@in_a_folder
def test_with_redis_down_a_wait_still_ends_in_time(here, jobs):
    job = submit(jobs, here.store)
    with here.redis.down():
        begun = time.monotonic()
        assert jobs.wait(job.id, 1.2).status is JobStatus.QUEUED
        assert 1.1 < time.monotonic() - begun < 3


# Listing


def walk(jobs, limit):
    cursor, pages = None, []
    while True:
        page = jobs.page(limit, cursor)
        pages.append([job.id for job in page.jobs])
        if page.next is None:
            return pages
        cursor = page.next


@pytest.fixture
def five(here, jobs):
    ids = []
    for _ in range(5):
        ids.append(submit(jobs, here.store).id)
        time.sleep(0.002)
    return ids[::-1]


def test_pages_hold_every_job_once_newest_first(jobs, five):
    assert walk(jobs, 2) == [five[0:2], five[2:4], five[4:5]]
    assert walk(jobs, 5) == [five]
    assert walk(jobs, 9) == [five]


@in_a_folder
def test_a_page_goes_on_where_its_job_was_deleted(here, jobs, five):
    first = jobs.page(2, None)
    jobs.delete(five[1])
    assert [job.id for job in jobs.page(2, first.next).jobs] == five[2:4]


@in_a_folder
def test_new_jobs_do_not_shift_the_pages_after(here, jobs, five):
    first = jobs.page(2, None)
    submit(jobs, here.store)
    assert [job.id for job in jobs.page(2, first.next).jobs] == five[2:4]


def test_expired_jobs_are_left_out_without_shortening_the_page(here, jobs, five):
    for job_id in five[1:3]:
        here.store.delete(f"jobs/{job_id}")
    page = jobs.page(2, None)
    assert [job.id for job in page.jobs] == [five[0], five[3]]
    assert page.next == five[3]
    assert here.client().zcard("metseg:index") == 3


def test_a_page_is_whole_again_after_redis_lost_everything(here, jobs, five):
    assert walk(jobs, 9) == [five]
    here.redis.flush()
    newest = submit(jobs, here.store).id
    assert walk(here.jobs(), 4) == [[newest, *five[:3]], five[3:]]


@in_a_folder
def test_pages_come_from_the_store_with_redis_down(here, jobs, five):
    with here.redis.down():
        assert walk(jobs, 2) == [five[0:2], five[2:4], five[4:5]]


@in_a_folder
def test_an_upload_that_was_not_submitted_is_on_no_page(here, jobs):
    upload(jobs, here.store)
    assert jobs.page(9, None).jobs == []
    with here.redis.down():
        assert jobs.page(9, None).jobs == []


# Deleting


def test_a_waiting_job_that_is_deleted_is_gone_and_never_begun(here, jobs, worker):
    job = submit(jobs, here.store)
    jobs.delete(job.id)
    assert (here.keys(job.id), jobs.depth(), jobs.page(9, None).jobs) == ([], 0, [])
    for call in (jobs.get, jobs.delete):
        with pytest.raises(NotFound):
            call(job.id)
    assert worker.claim(job.id) is None
    assert here.keys(job.id) == []


def test_a_finished_job_is_deleted_with_its_results_and_its_neighbour_stays(here, jobs, worker):
    job, other = submit(jobs, here.store), submit(jobs, here.store)
    finish(worker, job.id)
    jobs.delete(job.id)
    assert here.keys(job.id) == []
    assert jobs.get(other.id).status is JobStatus.QUEUED


def test_a_job_can_be_deleted_with_redis_down_and_stays_deleted(here, jobs, worker):
    job = submit(jobs, here.store)
    with here.redis.down():
        jobs.delete(job.id)
    assert here.keys(job.id) == []
    assert worker.claim(job.id) is None
    assert jobs.page(9, None).jobs == []
    assert jobs.recover() == 0


# Idempotency keys


@in_a_folder
def test_a_new_key_is_held_by_the_job_that_brings_it(here, jobs):
    request = upload(jobs, here.store)
    assert jobs.idempotent("key", "body", request.id) == request.id


@in_a_folder
def test_the_same_key_and_body_lead_to_the_first_job(here, jobs):
    first = upload(jobs, here.store)
    jobs.idempotent("key", "body", first.id)
    jobs.submit(first)
    assert here.jobs().idempotent("key", "body", jobs.new_id()) == first.id
    assert jobs.idempotent("other key", "body", "0" * 32) == "0" * 32


@in_a_folder
def test_the_same_key_with_another_body_is_a_conflict(here, jobs):
    first = upload(jobs, here.store)
    jobs.idempotent("key", "body", first.id)
    jobs.submit(first)
    with pytest.raises(IdempotencyConflict):
        jobs.idempotent("key", "other body", jobs.new_id())


@in_a_folder
def test_a_key_outlives_a_restart_of_redis(here, jobs):
    first = upload(jobs, here.store)
    jobs.idempotent("key", "body", first.id)
    jobs.submit(first)
    with here.redis.down():
        pass
    assert jobs.idempotent("key", "body", jobs.new_id()) == first.id


@in_a_folder
def test_a_second_submission_waits_until_the_first_is_accepted(here, jobs):
    first = upload(jobs, here.store)
    jobs.idempotent("key", "body", first.id)
    submitter = threading.Timer(0.3, here.jobs().submit, [first])
    submitter.start()
    assert jobs.idempotent("key", "body", jobs.new_id()) == first.id
    submitter.join()
    assert jobs.get(first.id).status is JobStatus.QUEUED


@in_a_folder
@pytest.mark.parametrize("end", ["discard", "delete"])
def test_a_key_is_free_again_once_its_job_is_gone(here, jobs, end):
    first = upload(jobs, here.store)
    jobs.idempotent("key", "body", first.id)
    if end == "delete":
        jobs.submit(first)
    getattr(jobs, end)(first.id)
    second = jobs.new_id()
    assert jobs.idempotent("key", "other body", second) == second


@in_a_folder
def test_a_key_that_a_crashed_gateway_left_is_taken_over(here, jobs, monkeypatch):
    crashed, second = jobs.new_id(), jobs.new_id()
    jobs.idempotent("key", "body", crashed)
    later = time.time() + CRASHED_S + 1
    monkeypatch.setattr("metseg.idempotency.time.time", lambda: later)
    assert jobs.idempotent("key", "body", second) == second


@in_a_folder
def test_of_many_that_take_over_a_key_one_does(here, jobs, monkeypatch):
    monkeypatch.setattr("metseg.idempotency.PATIENCE_S", 0.2)
    jobs.idempotent("key", "body", jobs.new_id())
    later = time.time() + CRASHED_S + 1
    monkeypatch.setattr("metseg.idempotency.time.time", lambda: later)
    assert sorted(race_for_a_key(here)) == [False] * 7 + [True]


@in_a_folder
def test_a_key_whose_submission_hangs_is_a_conflict_in_the_end(here, jobs, monkeypatch):
    monkeypatch.setattr("metseg.idempotency.PATIENCE_S", 0.2)
    jobs.idempotent("key", "body", jobs.new_id())
    with pytest.raises(Conflict):
        jobs.idempotent("key", "body", jobs.new_id())


def race_for_a_key(here):
    everyone = [here.jobs() for _ in range(8)]
    barrier = threading.Barrier(len(everyone))
    holders = []

    def race(jobs):
        mine = jobs.new_id()
        barrier.wait()
        try:
            holders.append(jobs.idempotent("key", "body", mine) == mine)
        except Conflict:
            holders.append(False)

    threads = [threading.Thread(target=race, args=[jobs]) for jobs in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return holders


@in_a_folder
def test_of_many_at_once_one_holds_the_key(here, monkeypatch):
    monkeypatch.setattr("metseg.idempotency.PATIENCE_S", 0.2)
    assert sorted(race_for_a_key(here)) == [False] * 7 + [True]


@in_a_folder
def test_keys_need_redis(here, jobs):
    with here.redis.down(), pytest.raises(QueueUnavailable):
        jobs.idempotent("key", "body", jobs.new_id())


@in_a_folder
def test_a_key_is_not_kept_as_the_client_wrote_it(here, jobs):
    jobs.idempotent("DOE-JOHN-1970", "body", jobs.new_id())
    assert not [key for key in here.client().scan_iter() if "DOE" in key]


# Expiring


def age(store, job_id, days):
    then = time.time() - days * 86400
    for path in (store._root / "jobs" / job_id).rglob("*"):
        os.utime(path, (then, then))


@pytest.fixture
def old(tmp_path, redis):
    store = DirectoryStore(tmp_path / "expiring")
    store.prepare(7)
    with deployment(store, redis) as here:
        yield here


def test_jobs_older_than_the_settings_allow_are_deleted_and_others_stay(old):
    jobs = old.jobs()
    kept, expired = submit(jobs, old.store), submit(jobs, old.store)
    age(old.store, kept.id, 6.9)
    age(old.store, expired.id, 7.1)
    assert jobs.expire() == 1
    assert [job.id for job in jobs.page(9, None).jobs] == [kept.id]
    assert old.keys(expired.id) == []


def test_an_upload_that_never_became_a_job_is_deleted_after_a_day(old):
    jobs = old.jobs()
    abandoned, under_way = upload(jobs, old.store), upload(jobs, old.store)
    age(old.store, abandoned.id, 1.1)
    age(old.store, under_way.id, 0.9)
    assert jobs.expire() == 1
    assert (old.keys(abandoned.id), old.keys(under_way.id)) == ([], ["input/0000"])


def test_nothing_young_expires(here, jobs):
    job = submit(jobs, here.store)
    assert jobs.expire() == 0
    assert jobs.get(job.id) == job

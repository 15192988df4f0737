"""The worker's side of jobs: one attempt at a time, one result, nothing lost, nothing that comes back."""

import contextlib
import threading
import time

import pytest
from tests.integration.deployments import CLAIM_TTL_S, Interfering, deployment, kill, result_of, submit
from tests.servers import talk, wait_until

from metseg.contracts import JobStatus, Problem, Progress
from metseg.errors import BadInput, Cancelled, NotFound, QueueUnavailable, StoreUnavailable
from metseg.jobs import ATTEMPTS

in_a_folder = pytest.mark.parametrize("store", ["directory"], indirect=True)  # the store makes no difference here
ARTEFACTS = {"mask.nii.gz": b"mask", "overlays/0000.png": b"png"}
WHOLE = ["input/0000", "job.json", "mask.nii.gz", "overlays/0000.png", "request.json", "result.json"]
PROBLEM = Problem.of(BadInput("It cannot be read."))


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


@pytest.fixture
def other(here):
    return here.jobs()


@pytest.fixture
def job(here, jobs):
    return submit(jobs, here.store)


def forget_messages(here):
    here.client().delete("metseg")


# One attempt


def test_a_claimed_job_runs_and_tells_how_far_it_is(jobs, worker, job):
    request = worker.claim(job.id)
    assert request == jobs.request(job.id)
    seen = jobs.get(job.id)
    assert (seen.status, seen.attempts, seen.progress) == (JobStatus.RUNNING, 1, None)
    assert seen.started_at is not None
    worker.advance(job.id, 3, 7)
    assert jobs.get(job.id).progress == Progress(done=3, total=7)


def test_a_finished_job_has_its_result_and_artefacts(here, jobs, worker, job):
    worker.claim(job.id)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    seen = jobs.get(job.id)
    assert (seen.status, seen.model_version, seen.progress) == (JobStatus.SUCCEEDED, "20260101-000000-tiny", None)
    assert seen.created_at <= seen.started_at <= seen.finished_at
    assert here.keys(job.id) == WHOLE
    assert here.store.get(jobs.artefact_key(job.id, "mask.nii.gz")) == b"mask"


@pytest.mark.parametrize("name", ["mask.nii.gz", "overlays/0000.png", "result.json"])
def test_a_job_succeeds_only_after_all_it_has_is_written(here, jobs, job, name):
    seen = []

    def look():
        seen.append(jobs.get(job.id).status)

    worker = here.jobs(Interfering(here.store, name, before=look, after=look))
    worker.claim(job.id)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert seen == [JobStatus.RUNNING, JobStatus.RUNNING]


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_a_message_that_comes_again_for_a_final_job_does_nothing(jobs, worker, other, job, end):
    worker.claim(job.id)
    if end == "finish":
        worker.finish(job.id, result_of(job.id), {})
    else:
        worker.fail(job.id, PROBLEM)
    before = jobs.get(job.id)
    assert worker.claim(job.id) is None
    assert other.claim(job.id) is None
    assert jobs.get(job.id) == before
    assert jobs.recover() == 0


def test_an_end_is_written_once(jobs, worker, job):
    worker.claim(job.id)
    worker.finish(job.id, result_of(job.id), {})
    before = jobs.get(job.id)
    worker.fail(job.id, PROBLEM)
    worker.finish(job.id, result_of(job.id, "20260102-000000-other"), {})
    assert jobs.get(job.id) == before
    assert jobs.result(job.id).model_version == "20260101-000000-tiny"


def test_who_did_not_claim_cannot_end_a_job(jobs, other, job):
    other.finish(job.id, result_of(job.id), {})
    other.fail(job.id, PROBLEM)
    with pytest.raises(Cancelled):
        other.advance(job.id, 1, 2)
    assert jobs.get(job.id).status is JobStatus.QUEUED


@in_a_folder
@pytest.mark.parametrize("job_id", ["0" * 32, "../models", ""])
def test_claiming_what_was_never_submitted_is_nothing(worker, job_id):
    assert worker.claim(job_id) is None


# Two workers


def test_a_living_worker_keeps_its_job(here, jobs, worker, other, job):
    worker.claim(job.id)
    begun = time.monotonic()
    assert other.claim(job.id) is None
    assert time.monotonic() - begun < CLAIM_TTL_S
    assert jobs.get(job.id).attempts == 1


@in_a_folder
def test_a_long_silence_between_slices_is_no_death(jobs, worker, other, job):
    worker.claim(job.id)
    time.sleep(3 * CLAIM_TTL_S)
    assert other.claim(job.id) is None
    worker.advance(job.id, 1, 2)


@in_a_folder
def test_of_many_workers_one_gets_the_job(here, jobs, job):
    workers = [here.jobs() for _ in range(8)]
    requests = []
    barrier = threading.Barrier(len(workers))

    def race(worker):
        barrier.wait()
        requests.append(worker.claim(job.id))

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
    threads = [threading.Thread(target=lambda: requests.append(worker.claim(job.id))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(request is not None for request in requests) == 1
    worker.advance(job.id, 1, 1)


def test_a_dead_workers_job_is_taken_over_by_the_very_next_message(jobs, worker, other, job):
    worker.claim(job.id)
    kill(worker)
    begun = time.monotonic()
    assert other.claim(job.id) is not None
    assert time.monotonic() - begun < 2 * CLAIM_TTL_S
    assert jobs.get(job.id).attempts == 2
    other.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_worker_that_was_only_paused_gives_way_and_writes_nothing(jobs, worker, other, job):
    worker.claim(job.id)
    claim = worker._claims[job.id]
    claim._stop.set()  # as SIGSTOP does to its thread
    assert other.claim(job.id) is not None
    worker.finish(job.id, result_of(job.id, "20260102-000000-paused"), {})
    assert jobs.get(job.id).status is JobStatus.RUNNING
    other.finish(job.id, result_of(job.id), {})
    assert jobs.result(job.id).model_version == "20260101-000000-tiny"


@in_a_folder
def test_a_worker_that_wakes_after_another_finished_changes_nothing(here, jobs, worker, other, job):
    worker.claim(job.id)
    worker._claims[job.id]._stop.set()
    here.redis.flush()
    other.claim(job.id)
    other.finish(job.id, result_of(job.id), ARTEFACTS)
    before = jobs.get(job.id)
    worker.finish(job.id, result_of(job.id, "20260102-000000-paused"), {})
    assert jobs.get(job.id) == before
    assert jobs.result(job.id).model_version == "20260101-000000-tiny"


@in_a_folder
def test_a_job_whose_start_redis_did_not_hear_of_is_begun_nevertheless(here, jobs, worker, job):
    with contextlib.ExitStack() as outage:
        deaf = here.jobs(Interfering(here.store, "job.json", after=lambda: outage.enter_context(here.redis.down())))
        assert deaf.claim(job.id) is not None
    assert jobs.get(job.id).attempts == 1
    deaf.release(job.id)
    worker.claim(job.id)
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_worker_whose_job_was_taken_over_is_told_to_stop(worker, other, job):
    worker.claim(job.id)
    worker._claims[job.id]._stop.set()
    other.claim(job.id)
    with pytest.raises(Cancelled):
        worker.advance(job.id, 1, 2)
    other.advance(job.id, 1, 2)


@in_a_folder
def test_a_job_that_ends_every_worker_fails_and_harms_no_more(jobs, here, job):
    for attempt in range(1, ATTEMPTS + 1):
        victim = here.jobs()
        assert victim.claim(job.id) is not None
        assert jobs.get(job.id).attempts == attempt
        kill(victim)
    assert here.jobs().claim(job.id) is None
    seen = jobs.get(job.id)
    assert (seen.status, seen.problem.type) == (JobStatus.FAILED, "/problems/processing-failed")
    assert seen.attempts == ATTEMPTS


def test_a_job_given_back_is_queued_again(jobs, worker, other, job):
    forgotten = worker.claim(job.id)
    worker.release(job.id)
    worker.release(job.id)
    with pytest.raises(Cancelled):
        worker.advance(job.id, 1, 2)
    assert jobs.get(job.id).status is JobStatus.RUNNING
    jobs.recover()
    assert other.claim(job.id) == forgotten


# Deleting while it runs


def test_a_running_job_that_is_deleted_stops_and_leaves_nothing(here, jobs, worker, job):
    worker.claim(job.id)
    worker.advance(job.id, 1, 9)
    jobs.delete(job.id)
    with pytest.raises(Cancelled):
        worker.advance(job.id, 2, 9)
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    worker.fail(job.id, PROBLEM)
    assert here.keys(job.id) == []
    with pytest.raises(NotFound):
        jobs.get(job.id)


@pytest.mark.parametrize("name", WHOLE[1:4] + WHOLE[5:])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("redis_up", [True, False], ids=["with Redis", "without Redis"])
@in_a_folder
def test_a_delete_at_any_moment_of_the_finish_leaves_nothing(here, jobs, job, name, moment, redis_up):
    deleted = []

    def delete():
        if here.store.get(jobs.artefact_key(job.id, "job.json")).find(b'"running"') > 0 and not deleted:
            deleted.append(True)
            jobs.delete(job.id)

    worker = here.jobs(Interfering(here.store, name, **{moment: delete}))
    worker.claim(job.id)
    deleted.clear()
    if not (jobs_exist := here.keys(job.id)):  # deleted as it was claimed
        assert (name, moment) == ("job.json", "after")
        return
    assert jobs_exist == ["input/0000", "job.json", "request.json"]
    if redis_up:
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
    else:
        with here.redis.down():
            worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert deleted == [True]
    assert here.keys(job.id) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_delete_while_a_worker_begins_leaves_nothing(here, jobs, job, moment):
    worker = here.jobs(Interfering(here.store, "job.json", **{moment: lambda: jobs.delete(job.id)}))
    assert worker.claim(job.id) is None
    assert here.keys(job.id) == []


@in_a_folder
def test_a_finish_in_the_middle_of_a_delete_leaves_nothing(here, worker, job):
    class Slow:
        """Deletes a folder as S3 does: first it lists, then it removes what it listed."""

        def __getattr__(self, name):
            return getattr(here.store, name)

        def delete(self, prefix):
            listed = [info.key for info in here.store.list(prefix)]
            if prefix == f"jobs/{job.id}":
                with here.redis.down():
                    worker.finish(job.id, result_of(job.id), ARTEFACTS)
            for key in listed:
                here.store.delete(key)

    worker.claim(job.id)
    here.jobs(Slow()).delete(job.id)
    assert here.keys(job.id) == []


@in_a_folder
def test_a_job_deleted_while_redis_was_away_does_not_come_back(here, jobs, worker, job):
    worker.claim(job.id)
    with here.redis.down():
        jobs.delete(job.id)
    here.redis.flush()
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert here.keys(job.id) == []


# What breaks midway


@pytest.mark.parametrize("name", WHOLE[1:4] + WHOLE[5:])
def test_a_finish_that_the_store_interrupts_is_done_again_whole(here, jobs, other, job, name):
    broken = []

    def away():
        if broken:
            raise StoreUnavailable("away")

    worker = here.jobs(Interfering(here.store, name, before=away))
    worker.claim(job.id)
    broken.append(True)
    with pytest.raises(StoreUnavailable):
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert jobs.get(job.id).status is JobStatus.RUNNING
    forget_messages(here)
    assert jobs.recover() == 1
    if other.claim(job.id) is not None:
        other.finish(job.id, result_of(job.id), ARTEFACTS)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    assert here.keys(job.id) == WHOLE


def test_a_result_whose_worker_died_before_saying_so_is_not_computed_again(here, jobs, other, job):
    def die():
        raise KeyboardInterrupt

    worker = here.jobs(Interfering(here.store, "result.json", after=die))
    worker.claim(job.id)
    with pytest.raises(KeyboardInterrupt):
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert jobs.get(job.id).status is JobStatus.RUNNING
    assert other.claim(job.id) is None
    seen = jobs.get(job.id)
    assert (seen.status, seen.model_version, seen.attempts) == (JobStatus.SUCCEEDED, "20260101-000000-tiny", 1)


def test_a_claim_that_the_store_interrupts_is_free_again(here, jobs, other, job):
    def away():
        raise StoreUnavailable("away")

    worker = here.jobs(Interfering(here.store, "job.json", before=away))
    with pytest.raises(StoreUnavailable):
        worker.claim(job.id)
    assert other.claim(job.id) is not None
    assert jobs.get(job.id).attempts == 1


@in_a_folder
def test_a_claim_needs_redis(here, worker, job):
    with here.redis.down(), pytest.raises(QueueUnavailable):
        worker.claim(job.id)


@in_a_folder
def test_a_running_job_outlives_redis(here, jobs, worker, job):
    worker.claim(job.id)
    with here.redis.down():
        worker.advance(job.id, 1, 2)
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
        assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    assert jobs.recover() == 0
    assert jobs.depth() == 0


@in_a_folder
def test_a_running_job_outlives_that_redis_forgets_everything(here, jobs, worker, other, job):
    worker.claim(job.id)
    here.redis.flush()
    worker.advance(job.id, 1, 2)
    assert jobs.recover() == 0
    assert other.claim(job.id) is None
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_claim_is_renewed_soon_after_redis_forgot_it(here, worker, other, job):
    worker.claim(job.id)
    here.redis.flush()
    wait_until(lambda: b"$-1" not in talk(here.redis.port, f"GET metseg:{job.id}:claim\r\n".encode()), CLAIM_TTL_S)
    assert other.claim(job.id) is None


@in_a_folder
def test_a_claim_ends_when_no_attempt_may_last_longer(here, jobs, other, job):
    worker = here.jobs()
    worker._longest_s = 0
    worker.claim(job.id)
    assert other.claim(job.id) is not None


# Recovering


def test_after_redis_forgot_everything_each_job_is_queued_again_once_and_in_order(here, jobs, worker):
    ids = []
    for _ in range(4):
        ids.append(submit(jobs, here.store).id)
        time.sleep(0.002)
    worker.claim(ids[0])
    worker.finish(ids[0], result_of(ids[0]), {})
    worker.claim(ids[1])
    worker.advance(ids[1], 1, 2)
    here.redis.flush()
    wait_until(lambda: here.client().exists(f"metseg:{ids[1]}:claim") == 1, CLAIM_TTL_S)
    time.sleep(CLAIM_TTL_S)  # a job this young may still be on its way to the queue
    assert jobs.recover() == 2
    assert jobs.recover() == 0
    assert [jobs.get(job_id).queue_position for job_id in ids] == [None, None, 1, 2]
    assert here.client().llen("metseg") == 2
    for job_id in ids[2:]:
        assert worker.claim(job_id) is not None


@in_a_folder
def test_a_job_that_ran_while_redis_forgot_it_is_watched_over_again(here, jobs, worker, job):
    worker.claim(job.id)
    here.redis.flush()
    worker.advance(job.id, 1, 2)
    assert jobs.recover() == 0
    kill(worker)
    time.sleep(CLAIM_TTL_S)
    assert jobs.recover() == 1


@in_a_folder
def test_a_job_that_lost_its_message_alone_is_queued_again(here, jobs, worker, job):
    forget_messages(here)
    assert jobs.recover() == 0  # it may be on its way to a worker
    time.sleep(CLAIM_TTL_S)
    assert jobs.recover() == 1
    assert jobs.get(job.id).queue_position == 1
    assert worker.claim(job.id) is not None


@in_a_folder
def test_a_dead_workers_job_waits_again_as_anyone_can_see(here, jobs, worker, job):
    worker.claim(job.id)
    forget_messages(here)
    kill(worker)
    assert jobs.recover() == 0
    time.sleep(CLAIM_TTL_S)
    assert jobs.recover() == 1
    seen = jobs.get(job.id)
    assert (seen.status, seen.queue_position, seen.attempts) == (JobStatus.QUEUED, 1, 1)


@in_a_folder
def test_a_job_in_the_queue_is_not_queued_twice(here, jobs, job):
    time.sleep(CLAIM_TTL_S)
    assert jobs.recover() == 0
    assert here.client().llen("metseg") == 1


@in_a_folder
def test_of_many_that_recover_at_once_one_does(here, job):
    forget_messages(here)
    time.sleep(CLAIM_TTL_S)
    counts = []
    everyone = [here.jobs() for _ in range(6)]
    threads = [threading.Thread(target=lambda jobs=jobs: counts.append(jobs.recover())) for jobs in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 1
    assert here.client().llen("metseg") == 1


@in_a_folder
def test_a_job_accepted_by_a_gateway_that_died_before_it_queued_it_is_found(here, jobs):
    def die():
        raise KeyboardInterrupt

    gateway = here.jobs(Interfering(here.store, "request.json", after=die))
    jobs.recover()
    with pytest.raises(KeyboardInterrupt):
        submit(gateway, here.store)
    here.client().delete("metseg:scanned")  # ten minutes later
    time.sleep(CLAIM_TTL_S)
    assert jobs.recover() == 1
    assert jobs.page(9, None).jobs[0].queue_position == 1


@in_a_folder
def test_recovering_between_scans_asks_the_store_for_open_jobs_only(here, jobs, worker):
    done, waiting = submit(jobs, here.store), submit(jobs, here.store)
    worker.claim(done.id)
    worker.finish(done.id, result_of(done.id), {})
    jobs.recover()
    asked = []

    class Asked:
        def __getattr__(self, name):
            return getattr(here.store, name)

        def get(self, key):
            asked.append(key)
            return here.store.get(key)

        def list(self, prefix):
            raise AssertionError(prefix)

    assert here.jobs(Asked()).recover() == 0
    assert asked == [f"jobs/{waiting.id}/job.json"]


@in_a_folder
def test_recovering_forgets_what_expired_and_closes_what_ended_unseen(here, jobs, worker):
    expired, ended = submit(jobs, here.store), submit(jobs, here.store)
    jobs.recover()
    here.store.delete(f"jobs/{expired.id}")
    worker.claim(ended.id)
    with here.redis.down():
        worker.finish(ended.id, result_of(ended.id), {})
    assert here.client().scard("metseg:open") == 2
    assert jobs.recover() == 0
    assert here.client().scard("metseg:open") == 0
    assert jobs.depth() == 0


@in_a_folder
def test_recovering_needs_redis(here, jobs, job):
    with here.redis.down(), pytest.raises(QueueUnavailable):
        jobs.recover()

"""Metrics of jobs over all workers, and as Prometheus reads them."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.gateways import begin, png, promote_tiny, running
from tests.integration.deployments import ARTEFACTS, PROBLEM, in_a_folder, kill, result_of, submit
from tests.models import VERSION

from metseg.contracts import Problem
from metseg.errors import PoisonedInput, ProcessingFailed
from metseg.jobs import BUCKETS_S, MAX_ATTEMPTS, QUEUE
from metseg.settings import Settings


def finish(worker, job_id, model="a", **durations_s):
    assert begin(worker, job_id)
    result = result_of(job_id, model).model_copy(update={"durations_s": durations_s})
    worker.finish(job_id, result, ARTEFACTS)


@in_a_folder
def test_ends_are_counted_by_outcome_over_all_workers(here, jobs, worker, other):
    finish(worker, submit(jobs).id)
    finish(other, submit(jobs).id, model="b")
    failed = submit(jobs)
    begin(other, failed.id)
    other.fail(failed.id, PROBLEM)
    counters = jobs.metrics().counters
    assert counters["ended", "succeeded"] == 2
    assert counters["ended", PROBLEM.type] == 1
    assert (counters["served", "a"], counters["served", "b"]) == (1, 1)


@in_a_folder
def test_durations_are_counted_in_buckets_and_summed(here, jobs, worker):
    finish(worker, submit(jobs).id, predict=0.3, read=5000.0)
    finish(worker, submit(jobs).id, predict=0.5)
    histograms = jobs.metrics().histograms
    predict, read = histograms["phase", "predict"], histograms["phase", "read"]
    assert predict.counts[BUCKETS_S.index(0.5)] == 2, "a bound belongs to its bucket"
    assert predict.sum_s == pytest.approx(0.8)
    assert (read.counts[-1], sum(read.counts)) == (1, 1)
    assert sum(histograms["wait", ""].counts) == 2


@in_a_folder
def test_a_poisoned_input_and_each_recovery_are_counted_once(here, jobs, maintenance):
    job = submit(jobs)
    for _ in range(MAX_ATTEMPTS):
        victim = here.runner()
        assert begin(victim, job.id)
        kill(victim)
        time.sleep(0.8)  # the lease's lifetime
        here.client().delete(QUEUE)
        assert maintenance.recover() == 1
    assert begin(here.runner(), job.id) is None
    counters = jobs.metrics().counters
    assert counters["ended", PoisonedInput.type] == 1
    assert counters["recovered", ""] == MAX_ATTEMPTS


@in_a_folder
def test_the_queue_status_counts_waiting_and_running_jobs_and_the_longest_wait(here, jobs, worker):
    first = submit(jobs)
    submit(jobs)
    time.sleep(0.2)
    queue = jobs.queue_status()
    assert (queue.waiting, queue.working) == (2, 0)
    assert 0.2 <= queue.oldest_s < 20
    begin(worker, first.id)
    assert (jobs.queue_status().waiting, jobs.queue_status().working) == (1, 1)


@in_a_folder
def test_a_silent_worker_is_not_counted(here, jobs):
    assert jobs.worker_count() == 0
    workers = here.workers()
    workers.heartbeat("one")
    workers.heartbeat("two")
    workers.heartbeat("one")
    assert jobs.worker_count() == 2
    here.client().zadd("metseg:workers", {"one": time.time() - 61})
    assert jobs.worker_count() == 1


@in_a_folder
@pytest.mark.parametrize("hours", [-192, 192])
def test_workers_are_counted_by_the_time_of_redis(here, jobs, monkeypatch, hours):
    here.workers().heartbeat("alive")
    here.workers().heartbeat("dead")
    here.client().zadd("metseg:workers", {"dead": time.time() - 61})
    later = time.time() + hours * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    here.workers().heartbeat("alive")
    assert jobs.worker_count() == 1


@in_a_folder
def test_a_redis_outage_counts_nothing_and_stops_nothing(here, jobs, worker):
    job = submit(jobs)
    begin(worker, job.id)
    with here.redis.down():
        worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert jobs.get(job.id).status == "succeeded"


# As read by Prometheus


def exposed(gateway):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(gateway.http.get("/metrics").text)
        for sample in family.samples
    }


@pytest.fixture
def gateway(tmp_path, redis):
    redis.flush()
    with running(Settings(store_directory=tmp_path / "served", **redis.settings())) as gateway:
        promote_tiny(gateway.store)
        yield gateway


def test_prometheus_reads_the_jobs_of_all_workers(gateway):
    job = gateway.accepted(png())
    finish(gateway.runner, job.id, model=VERSION, predict=0.3, read=0.05)
    failed = gateway.accepted(png(1))
    begin(gateway.runner, failed.id)
    gateway.runner.fail(failed.id, Problem.of(ProcessingFailed("It failed.")))
    gateway.accepted(png(2))
    gateway.workers.heartbeat("one")
    read = exposed(gateway)
    assert read["metseg_jobs_ended_total", "succeeded"] == 1
    assert read["metseg_jobs_ended_total", ProcessingFailed.type] == 1
    assert read["metseg_jobs_served_total", VERSION] == 1
    assert read["metseg_job_phase_seconds_bucket", "0.1", "read"] == 1
    assert read["metseg_job_phase_seconds_bucket", "0.25", "predict"] == 0
    assert read["metseg_job_phase_seconds_bucket", "0.5", "predict"] == 1
    assert read["metseg_job_phase_seconds_bucket", "+Inf", "predict"] == 1
    assert read["metseg_job_phase_seconds_sum", "predict"] == pytest.approx(0.3)
    assert read["metseg_job_wait_seconds_count",] == 2
    assert (read["metseg_queue_depth",], read["metseg_jobs_in_flight",], read["metseg_workers",]) == (1, 0, 1)
    assert read["metseg_queue_oldest_seconds",] >= 0
    assert read["metseg_champion_info", VERSION] == 1
    assert (read["metseg_redis_up",], read["metseg_store_up",]) == (1, 1)
    assert 0 < read["metseg_redis_seconds",] < 5
    assert 0 < read["metseg_store_seconds",] < 5


def test_the_first_poisoned_input_increases_its_counter(gateway):
    read = exposed(gateway)
    assert read["metseg_jobs_ended_total", PoisonedInput.type] == 0
    assert read["metseg_jobs_recovered_total",] == 0


def test_only_an_unavailable_service_is_reported_as_down(gateway, redis):
    with redis.down():
        read = exposed(gateway)
    assert read["metseg_redis_up",] == 0
    assert read["metseg_store_up",] == 1
    assert not [name for name, *_ in read if name.startswith(("metseg_queue", "metseg_jobs", "metseg_redis_seconds"))]


def test_no_metric_names_a_file_or_a_job(gateway):
    job = gateway.http.post("/v1/jobs", files={"files": ("DOE^JANE.png", png())}).json()
    finish(gateway.runner, job["id"], predict=0.1)
    text = gateway.http.get("/metrics").text
    assert "DOE" not in text
    assert job["id"] not in text

"""However a job ends, its end is stored, or the job is retried."""

import errno
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_shutdown
from tests.integration.studies import phantom_files, submit
from tests.models import VERSION, tiny_card, tiny_model
from tests.servers import talk, wait_until

from metseg.contracts import JobStatus
from metseg.errors import NotFound, QueueUnavailable, StoreUnavailable
from metseg.inference import ModelCache
from metseg.jobs import MAX_ATTEMPTS, JobFactory
from metseg.registry import Registry
from metseg.settings import Settings
from metseg_worker.context import open_context
from metseg_worker.maintenance import MaintenanceThread
from metseg_worker.result_writer import ResultWriter
from metseg_worker.tasks import _result_writer, run_job

OTHER = "20260102-000000-other"


@pytest.fixture
def context(redis, tmp_path):
    redis.flush()
    context = open_context(Settings(store_directory=tmp_path, redis_url=redis.url, threads=1))
    context.store.prepare(job_days=1)
    for version, brighter_than in ((VERSION, 1.5), (OTHER, 9.0)):
        model = tiny_model(brighter_than)
        Registry(context.store).publish(tiny_card(model, version), {"model.onnx": model})
    Registry(context.store).promote(VERSION)
    return context


@pytest.fixture
def jobs(context):
    with JobFactory(context.settings, context.store) as factory:
        yield factory.service()


@pytest.fixture
def job(context, jobs):
    return submit(context.store, jobs, phantom_files(3))


class Raising(ModelCache):
    """A ModelCache that raises."""

    def __init__(self, error):
        self._error = error

    def champion(self):
        raise self._error


class Flaky:
    """A store that is unavailable whenever an input is read."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    @contextmanager
    def stream(self, key):
        raise StoreUnavailable("The object store does not answer; try again later.")
        yield


def test_a_job_ends_with_its_result_and_artefacts(context, jobs, job):
    run_job(context, job.id)
    result = jobs.result(job.id)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    assert (result.model_version, result.shape) == (VERSION, (3, 128, 128))
    assert set(result.durations_s) >= {"read", "predict", "report"}
    assert set(jobs.results(job.id).own.artefacts) == {
        "mask.nii.gz", "probability.nii.gz", "whole.nii.gz", "whole_probability.nii.gz",
        "lesions.nii.gz", "slices.zip", "result.json",
    }  # fmt: skip


def test_a_job_may_name_its_model(context, jobs):
    job = submit(context.store, jobs, phantom_files(1), model=OTHER)
    run_job(context, job.id)
    assert jobs.result(job.id).model_version == OTHER


def test_a_job_with_an_unknown_model_fails_with_not_found(context, jobs):
    job = submit(context.store, jobs, phantom_files(1), model="20990101-000000-none")
    run_job(context, job.id)
    assert jobs.get(job.id).problem.type == NotFound.type


def test_a_rejected_new_champion_is_reported_in_the_result(context, jobs, job):
    run_job(context, job.id)
    Registry(context.store).promote(OTHER)
    context.store.put(f"models/{OTHER}/model.onnx", b"damaged")
    second = submit(context.store, jobs, phantom_files(1))
    run_job(context, second.id)
    result = jobs.result(second.id)
    assert result.model_version == VERSION
    assert any(OTHER in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"this is text", "/problems/unsupported-format"),
        (next(iter(phantom_files(1).values()))[:500], "/problems/unreadable-image"),
    ],
    ids=["text", "truncated"],
)
def test_an_unreadable_upload_fails_with_its_own_problem(context, jobs, content, problem):
    job = submit(context.store, jobs, {"head.png": content})
    run_job(context, job.id)
    ended = jobs.get(job.id)
    assert (ended.status, ended.problem.type) == (JobStatus.FAILED, problem)


def test_an_input_changed_in_the_store_is_not_segmented(context, jobs, job):
    context.store.put(jobs.input_key(job.id, 0), phantom_files(1, seed=8)["DOE-JOHN_0.png"])
    run_job(context, job.id)
    assert "changed" in jobs.get(job.id).problem.detail


def test_a_job_that_takes_too_long_says_so(context, jobs, job):
    run_job(replace(context, models=Raising(SoftTimeLimitExceeded())), job.id)
    ended = jobs.get(job.id)
    assert (ended.status, ended.problem.type) == (JobStatus.FAILED, "/problems/processing-failed")
    assert "longer than" in ended.problem.detail


def test_an_unexpected_error_fails_the_job_without_revealing_its_text(context, jobs, job, caplog):
    run_job(replace(context, models=Raising(ZeroDivisionError("DOE JOHN"))), job.id)
    ended = jobs.get(job.id)
    [record] = [record for record in caplog.records if record.message == "job met a bug"]
    assert (ended.status, ended.problem.type) == (JobStatus.FAILED, "/problems/processing-failed")
    assert (record.job, record.error, "champion" in record.where[-1]) == (job.id, "ZeroDivisionError", True)
    assert "DOE" not in caplog.text + ended.problem.detail + str(vars(record))


def test_a_job_deleted_while_it_runs_leaves_nothing(context, jobs, job):
    class Deleting(ModelCache):
        def __init__(self, models):
            self._models = models

        def champion(self):
            jobs.delete(job.id)
            return self._models.champion()

    run_job(replace(context, models=Deleting(context.models)), job.id)
    assert list(context.store.list(f"jobs/{job.id}/")) == []


def test_a_store_outage_costs_no_job_and_no_attempt(context, jobs, job):
    for _ in range(MAX_ATTEMPTS):
        run_job(replace(context, store=Flaky(context.store)), job.id)
    seen = jobs.get(job.id)
    assert (seen.status.final, seen.attempts) == (False, 0)
    run_job(context, job.id)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


def test_a_full_spool_costs_no_job_and_no_attempt(context, jobs, job):
    run_job(replace(context, models=Raising(OSError(errno.ENOSPC, "No space left on device"))), job.id)
    seen = jobs.get(job.id)
    assert (seen.status.final, seen.attempts) == (False, 0)


def test_a_queue_outage_ends_no_job(context, jobs, job, redis):
    with redis.down():
        run_job(context, job.id)
    wait_until(lambda: b"+PONG" in talk(redis.port, b"PING\r\n"), 5)
    assert jobs.get(job.id).status is JobStatus.QUEUED


def test_a_job_without_a_champion_fails_with_a_sentence(context, jobs, job):
    context.store.delete("models/champion.json")
    run_job(context, job.id)
    assert jobs.get(job.id).problem.type == "/problems/no-champion"


def test_a_second_delivery_changes_nothing(context, job):
    run_job(context, job.id)
    before = [info.etag for info in context.store.list(f"jobs/{job.id}/")]
    run_job(context, job.id)
    assert [info.etag for info in context.store.list(f"jobs/{job.id}/")] == before


class Counting:
    """A Maintenance that counts its calls; at first the queue is unavailable."""

    recovered = expired = 0

    def heartbeat(self, worker, memory_bytes):
        assert worker

    def recover(self):
        self.recovered += 1
        if self.recovered == 1:
            raise QueueUnavailable("The queue does not answer.")
        return 0

    def expire(self):
        self.expired += 1
        return 1


def test_maintenance_survives_a_queue_outage():
    jobs = Counting()
    maintenance = MaintenanceThread(jobs, jobs, recover_every_s=0.01)
    maintenance.start()
    wait_until(lambda: jobs.recovered > 3, 5)
    maintenance.stop()
    maintenance.join(5)
    assert not maintenance.is_alive()
    assert jobs.expired == 1


def test_no_failure_stops_maintenance():
    class Broken(Counting):
        def recover(self):
            self.recovered += 1
            raise ValueError("a bug")

        def expire(self):
            self.expired += 1
            raise KeyError("another")

    jobs = Broken()
    maintenance = MaintenanceThread(jobs, jobs, recover_every_s=0.01)
    maintenance.start()
    wait_until(lambda: jobs.recovered > 3 and jobs.expired > 3, 5)
    maintenance.stop()
    maintenance.join(5)
    assert not maintenance.is_alive()


def test_a_study_is_segmented_while_the_previous_result_is_written(context, jobs, job):
    stored = threading.Event()

    class Slow:
        """A runner that writes ends slowly."""

        def __getattr__(self, name):
            return getattr(context.runner, name)

        def finish(self, *end):
            assert stored.wait(60)
            context.runner.finish(*end)

    writer = ResultWriter()
    second = submit(context.store, jobs, phantom_files(3))
    run_job(replace(context, runner=Slow()), job.id, writer.submit)
    run_job(context, second.id)
    before = [jobs.get(one.id).status for one in (job, second)]
    stored.set()
    assert writer.flush(60)
    assert before == [JobStatus.RUNNING, JobStatus.SUCCEEDED]
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


def test_a_failed_write_of_an_end_costs_no_job_and_no_attempt(context, jobs, job):
    class Away:
        """A runner whose store is unavailable when results are written."""

        def __getattr__(self, name):
            return getattr(context.runner, name)

        def finish(self, *end):
            raise StoreUnavailable("The object store does not answer; try again later.")

    writer = ResultWriter()
    run_job(replace(context, runner=Away()), job.id, writer.submit)
    assert writer.flush(60)
    seen = jobs.get(job.id)
    assert (seen.status.final, seen.attempts) == (False, 0)
    run_job(context, job.id)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


def test_an_error_while_recording_a_failure_does_not_reach_the_next_job(context, jobs, job):
    class Broken:
        """A runner with a bug when an end is written, and another when that is recorded."""

        def __getattr__(self, name):
            return getattr(context.runner, name)

        def finish(self, *end):
            raise KeyError("a bug")

        def fail(self, *end):
            raise ValueError("another")

    writer = ResultWriter()
    run_job(replace(context, runner=Broken()), job.id, writer.submit)
    second = submit(context.store, jobs, phantom_files(1))
    run_job(context, second.id, writer.submit)
    assert writer.flush(60)
    assert jobs.get(second.id).status is JobStatus.SUCCEEDED
    run_job(context, job.id)  # its lease was released
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


def test_a_model_that_kills_its_process_costs_an_attempt(context, jobs, job):
    class Deadly(ModelCache):
        def __init__(self):
            pass

        def champion(self):
            raise KeyboardInterrupt  # as close to a crash as a test can get

    attempts = []
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            run_job(replace(context, models=Deadly()), job.id)
        attempts.append(jobs.get(job.id).attempts)
        context.runner.release(job.id)
    run_job(context, job.id)
    assert attempts == [1, 2, 3]
    assert jobs.get(job.id).problem.type == "/problems/poisoned-input"


def test_a_hang_in_native_code_ends_only_its_process(context, jobs, job, monkeypatch):
    exits = []
    monkeypatch.setattr("metseg_worker.tasks.os._exit", exits.append)
    run_job(context, job.id)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    wait_until(lambda: not timers(), 5)  # cancelled
    monkeypatch.setattr("metseg_worker.tasks.max_work_s", lambda *_: 0.1)

    class Hanging(ModelCache):
        def __init__(self):
            pass

        def champion(self):
            wait_until(lambda: exits, 20)
            raise SoftTimeLimitExceeded

    run_job(replace(context, models=Hanging()), submit(context.store, jobs, phantom_files(1)).id)
    assert exits == [75]


def timers():
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_an_exiting_process_waits_for_its_last_result():
    written = []

    def slow():
        time.sleep(0.2)
        written.append("end")

    _result_writer().submit(slow)
    worker_process_shutdown.send(sender=None, pid=0, exitcode=0)
    assert written == ["end"]

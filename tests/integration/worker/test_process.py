"""The worker as a deployment runs it: a separate process, on a real Redis and a real S3."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid

import numpy as np
import psutil
import pytest
from tests.integration.studies import phantom_files, submit
from tests.models import VERSION, tiny_card, tiny_model
from tests.servers import wait_until
from tests.stored_results import stored_artefact

from metseg.contracts import JobStatus
from metseg.errors import StoreUnavailable
from metseg.formats import read_mask
from metseg.inference import OnnxPredictor, segment
from metseg.jobs import JobFactory
from metseg.phantom import head
from metseg.registry import Registry
from metseg.settings import Settings, settings
from metseg.storage import open_store
from metseg_worker import health

NODE = "celery@metseg-test"
OTHER = "20260102-000000-other"
END_S = 60.0


def long_study():
    """A hundred slices, which keep a worker busy for some seconds."""
    [content] = phantom_files(1).values()
    return {f"DOE-JOHN_{index}.png": content for index in range(100)}


class Deployment:
    """Store, queue and registry of a worker, and the worker itself."""

    def __init__(self, folder, redis, s3):
        self.log = folder / "worker.log"
        variables = {**redis.settings(), **s3.settings(), "s3_bucket": f"worker-{uuid.uuid4().hex[:8]}"}
        variables["redis_url"] = redis.database(1)  # so that no message of another test arrives here
        self.environment = {f"METSEG_{name.upper()}": value for name, value in variables.items()}
        self.settings = Settings(**variables)
        self.store = open_store(self.settings)
        self.store.prepare(job_days=1)
        self.registry = Registry(self.store)
        self.jobs = JobFactory(self.settings, self.store).service()
        self.process = None

    def publish(self, version, brighter_than):
        model = tiny_model(brighter_than)
        self.registry.publish(tiny_card(model, version), {"model.onnx": model})
        self.registry.promote(version)

    def start(self):
        command = [sys.executable, "-m", "celery", "--quiet", "-A", "metseg_worker.app", "worker", "--loglevel", "INFO"]
        command += ["--without-gossip", "--without-mingle", "--hostname", NODE]
        environment = {**os.environ, **self.environment, "METSEG_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: b" ready." in self.log.read_bytes()[before:], END_S)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"the worker did not start:\n{self.log.read_text()[before:]}") from error

    def kill(self):
        """Kill main process and child at once, like a power cut."""
        processes = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def stop(self):
        """Stop like `docker compose stop`."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def run(self, files, model=None):
        return self.jobs.wait(submit(self.store, self.jobs, files, model).id, END_S)

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def deployment(redis, s3, tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("worker"), redis, s3)
    deployment.publish(VERSION, brighter_than=1.5)
    deployment.start()
    yield deployment
    deployment.stop()


@pytest.fixture
def here(deployment, monkeypatch):
    """This process sees the settings of the deployment."""
    for name, value in deployment.environment.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_the_mask_equals_the_pipelines_pixel_for_pixel(deployment):
    job = deployment.run(phantom_files(6))
    volume, model = head(7, slices=6, size_px=128).volume, tiny_model(1.5)
    volume = type(volume)(volume.pixels, volume.names)  # a PNG stores no spacing
    expected = segment(volume, OnnxPredictor(tiny_card(model), model, threads=1)).mask
    mask = read_mask(stored_artefact(deployment.jobs, job.id, "mask.nii.gz"))
    assert job.status is JobStatus.SUCCEEDED
    assert expected.any()
    assert np.array_equal(mask, expected)


def test_a_new_champion_is_served_without_a_restart(deployment):
    deployment.publish(OTHER, brighter_than=1.0)
    try:
        assert deployment.run(phantom_files(1)).model_version == OTHER
        assert deployment.run(phantom_files(1), model=VERSION).model_version == VERSION
    finally:
        deployment.registry.promote(VERSION)
    assert deployment.run(phantom_files(1)).model_version == VERSION


def test_bad_input_fails_its_own_job_and_no_other(deployment):
    bad = deployment.run({"head.png": b"this is text"})
    good = deployment.run(phantom_files(1))
    assert (bad.status, bad.problem.type) == (JobStatus.FAILED, "/problems/unsupported-format")
    assert good.status is JobStatus.SUCCEEDED


def test_logs_are_json_and_name_jobs_but_no_file(deployment):
    job = deployment.run(phantom_files(1))
    wait_until(lambda: {"job begun", "job ended"} <= messages(deployment, job.id), END_S)
    assert "DOE" not in deployment.log.read_text()


def messages(deployment, job_id):
    return {line["message"] for line in deployment.lines() if line.get("job") == job_id}


def readable(store):
    try:
        return bool(store.get("models/champion.json"))
    except StoreUnavailable:
        return False


def test_the_health_check_distinguishes_a_living_worker_from_none(deployment, here):
    wait_until(lambda: health.is_healthy(NODE), END_S)
    assert not health.is_healthy("celery@unknown")


def test_the_health_check_fails_without_the_queue(deployment, here, redis):
    with redis.down():
        assert not health.is_healthy(NODE)
    wait_until(lambda: health.is_healthy(NODE), END_S)  # the worker reconnects by itself


@pytest.mark.slow
def test_a_worker_answers_while_its_child_computes(deployment, here):
    job = submit(deployment.store, deployment.jobs, long_study())
    wait_until(lambda: deployment.jobs.get(job.id).progress is not None, END_S)
    answered = health.is_healthy(NODE)
    still = deployment.jobs.get(job.id)
    assert answered
    assert still.status is JobStatus.RUNNING
    assert deployment.jobs.wait(job.id, END_S).status is JobStatus.SUCCEEDED


@pytest.mark.slow
def test_a_stopping_worker_writes_the_end_of_its_last_job(deployment):
    job = submit(deployment.store, deployment.jobs, phantom_files(6))
    wait_until(lambda: "job begun" in messages(deployment, job.id), END_S)
    deployment.stop()
    stopped = deployment.jobs.get(job.id)
    deployment.start()
    assert (stopped.status, stopped.attempts) == (JobStatus.SUCCEEDED, 1)


@pytest.mark.slow
def test_a_job_survives_its_worker(deployment):
    job = submit(deployment.store, deployment.jobs, long_study())
    wait_until(lambda: deployment.jobs.get(job.id).progress is not None, END_S)
    deployment.kill()
    deployment.start()
    ended = deployment.jobs.wait(job.id, END_S)
    assert (ended.status, ended.attempts) == (JobStatus.SUCCEEDED, 2)


@pytest.mark.slow
def test_a_job_waits_for_an_unavailable_store(deployment, s3):
    job = submit(deployment.store, deployment.jobs, long_study())
    wait_until(lambda: deployment.jobs.get(job.id).progress is not None, END_S)
    with s3.down():
        wait_until(lambda: "job given back" in messages(deployment, job.id), END_S)
    wait_until(lambda: readable(deployment.store), END_S)
    assert deployment.jobs.wait(job.id, END_S).status is JobStatus.SUCCEEDED

"""The queue's configuration loses nothing: Celery knows each setting, and each value takes effect."""

import threading
import time

import pytest
from celery.app.defaults import DEFAULTS
from celery.contrib.testing.worker import start_worker
from celery.exceptions import CPendingDeprecationWarning
from kombu.transport.redis import Channel
from tests.integration.deployments import deployment, submit
from tests.servers import free_ports, wait_until

from metseg.jobs import QUEUE, SEGMENT_TASK, celery_app
from metseg.settings import Settings
from metseg.storage import LocalFolderStore


@pytest.fixture
def app(redis):
    with celery_app(Settings(redis_url=redis.url, redis_timeout_s=1, job_time_limit_s=100)) as app:
        yield app


@pytest.fixture
def here(tmp_path, redis):
    store = LocalFolderStore(tmp_path)
    store.prepare(job_days=1)
    with deployment(store, redis) as here:
        yield here


def test_every_setting_exists_in_celery(app):
    assert set(app.conf.changes) - {"deprecated_settings", "visibility_timeout"} <= set(DEFAULTS)
    assert not app.conf.deprecated_settings
    understood_by_connections = {"connect_retries_timeout", "max_retries"} | {
        f"interval_{name}" for name in ("start", "step", "max")
    }
    assert set(app.conf.broker_transport_options) <= set(Channel.from_transport_options) | understood_by_connections


def test_the_soft_limit_precedes_the_hard_limit_and_both_precede_redelivery(app):
    assert app.conf.task_soft_time_limit == 100
    assert 100 < app.conf.task_time_limit < app.conf.broker_transport_options["visibility_timeout"]
    timeout_s = app.conf.broker_transport_options["visibility_timeout"]
    assert app.conf.result_backend_transport_options["visibility_timeout"] == timeout_s
    assert app.conf.visibility_timeout == timeout_s


def test_every_connection_to_the_queue_has_a_timeout(app):
    bounded = ("socket_timeout", "socket_connect_timeout", "connect_retries_timeout")
    assert [app.conf.broker_transport_options[name] for name in bounded] == [1, 1, 1]
    assert app.conf.broker_connection_timeout == 1
    assert app.conf.task_publish_retry_policy["max_retries"] == 1


def test_a_message_is_acknowledged_late_and_none_is_prefetched(app):
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    assert not app.conf.worker_cancel_long_running_tasks_on_connection_loss


def test_only_json_is_accepted_and_no_result_is_kept(app):
    assert list(app.conf.accept_content) == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_ignore_result
    assert app.conf.result_backend is None


def test_two_settings_make_two_brokers():
    ports = free_ports(2)
    apps = [celery_app(Settings(redis_url=f"redis://127.0.0.1:{port}/0")) for port in ports]
    assert [app.conf.broker_url for app in apps] == [f"redis://127.0.0.1:{port}/0" for port in ports]


class Worker:
    """A Celery worker in a thread, with the one task."""

    def __init__(self, app):
        self.app = app
        self.done: list[str] = []
        self.may_end = threading.Event()
        self.may_end.set()

        app.finalize()
        app.tasks.pop(SEGMENT_TASK, None)  # the real one, if another test imported it: Celery shares tasks

        @app.task(name=SEGMENT_TASK, shared=False)
        def segment(job_id: str) -> None:
            self.may_end.wait(20)
            self.done.append(job_id)


@pytest.fixture
def worker(here):
    with celery_app(here.settings) as app:
        worker = Worker(app)
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
            yield worker


def test_a_worker_receives_each_submitted_job(here, worker):
    jobs = here.service()
    ids = [submit(jobs).id for _ in range(3)]
    wait_until(lambda: len(worker.done) == 3, 10)
    assert worker.done == ids
    assert here.client().llen(QUEUE) == 0


def test_a_worker_consumes_again_after_a_redis_outage(here, worker):
    jobs = here.service()
    with pytest.warns(CPendingDeprecationWarning, match="worker_cancel_long"):  # noqa: PT031 (what celery_app() decides)
        with here.redis.down():
            time.sleep(0.5)
        job = submit(jobs)
        wait_until(lambda: job.id in worker.done, 20)

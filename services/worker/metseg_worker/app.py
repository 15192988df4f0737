"""The Celery application: `celery -A metseg_worker.app worker`.

One child computes one job at a time with all CPUs of the container; meanwhile the main process keeps the connection,
enforces the time limits and answers health checks.
"""

import logging
from typing import Any

from celery.signals import celeryd_after_setup, setup_logging, worker_ready
from celery.worker import state

from metseg import logs
from metseg.jobs import celery_app
from metseg.settings import settings
from metseg_worker.context import open_context
from metseg_worker.liveness import LivenessProbe, probe_queue
from metseg_worker.maintenance import MaintenanceThread

__all__ = ["celery"]

MAX_CHILD_KIB = 2 * 2**20
"""A child that has ever used more is replaced after its job, so that the memory of a large study is freed."""

celery = celery_app(settings())
celery.conf.update(
    include=["metseg_worker.tasks"],
    worker_pool="prefork",
    worker_concurrency=1,
    worker_max_memory_per_child=MAX_CHILD_KIB,
)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logs(loglevel: int = logging.INFO, **_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    logs.configure(loglevel)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _consume_probes(sender: str, instance: Any, **_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    instance.app.amqp.queues.select_add(probe_queue(sender))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_threads(sender: Any, **_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    context = open_context(settings())
    MaintenanceThread(context.maintenance, context.workers).start()
    workers = open_context(settings()).workers  # on a connection that maintenance does not share
    LivenessProbe(sender.hostname, celery, workers, lambda: bool(state.active_requests)).start()

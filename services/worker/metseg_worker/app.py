"""The Celery application: `celery -A metseg_worker.app worker`.

One child computes, one job at a time, with every CPU that the container may use; the main process keeps the
connection, the time limits and the answers to health checks while it does.
"""

import logging
from typing import Any

from celery.signals import celeryd_after_setup, setup_logging, worker_ready
from celery.worker import state

from metseg import logs
from metseg.jobs import broker
from metseg.settings import settings
from metseg_worker.context import open_bench
from metseg_worker.liveness import Canary, queue_of
from metseg_worker.maintenance import Upkeep

__all__ = ["celery"]

CHILD_KIB = 2 * 2**20
"""A child that has ever used more than this is replaced after its job: memory that a large study took comes back."""

celery = broker(settings())
celery.conf.update(
    include=["metseg_worker.tasks"],
    worker_pool="prefork",
    worker_concurrency=1,
    worker_max_memory_per_child=CHILD_KIB,
)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log_as_json(loglevel: int = logging.INFO, **_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    logs.configure(loglevel)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _listen(sender: str, instance: Any, **_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    instance.app.amqp.queues.select_add(queue_of(sender))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _keep_up(sender: Any, **_: Any) -> None:  # noqa: ANN401 (Celery's signals)
    Upkeep(open_bench(settings()).jobs).start()
    Canary(sender.hostname, celery, open_bench(settings()).jobs, lambda: bool(state.active_requests)).start()

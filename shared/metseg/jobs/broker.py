"""The Celery configuration of gateway and worker, and the queue that the gateway publishes to.

A message names a job and nothing else. If one is lost, delivered late or delivered twice, `Maintenance` and `JobRunner`
correct that, since the store knows what was accepted and what was done.
"""

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from metseg.contracts import Request
from metseg.errors import QueueUnavailable
from metseg.jobs import transport
from metseg.settings import Settings

__all__ = [
    "PROBE_TASK",
    "QUEUE",
    "SEGMENT_TASK",
    "WRITE_WAIT_S",
    "JobQueue",
    "celery_app",
    "max_attempt_s",
    "max_work_s",
    "soft_limit_s",
]

SEGMENT_TASK = "metseg.segment"
PROBE_TASK = "metseg.canary"
QUEUE = "metseg"
FAILURE_GRACE_S = 60
"""After the soft limit a task can still record why it failed."""
WRITE_WAIT_S = 600
"""A job that is computed may wait so long for the end of the one before to be written; its soft limit is over then."""
KILL_AFTER_S = FAILURE_GRACE_S + WRITE_WAIT_S
"""After the soft limit a task is killed."""
ACKNOWLEDGEMENT_GRACE_S = 300
BASE_LIMIT_S = 300
LIMIT_S_PER_MIB = 60


def soft_limit_s(size_bytes: int, max_s: int) -> int:
    """The time limit of a job: five minutes, and one more for each MiB of its input.

    A study of 30 slices has about 3 MB and takes some ten seconds, so a job that hangs is stopped long before `max_s`.

    Args:
        size_bytes: of all its files.
        max_s: the time limit of any job.

    Returns:
        Seconds.
    """
    return min(max_s, round(BASE_LIMIT_S + LIMIT_S_PER_MIB * size_bytes / 2**20))


def max_work_s(request: Request, settings: Settings) -> float:
    """Seconds after which a worker that still works on a job hangs: its soft limit, and time to record why it failed.

    Args:
        request: of the job.
        settings: of the deployment.

    Returns:
        Seconds.
    """
    return _soft_limit_of(request, settings.job_time_limit_s) + FAILURE_GRACE_S


def _soft_limit_of(request: Request, max_s: int) -> int:
    return soft_limit_s(sum(file.size_bytes for file in request.inputs), max_s)


def max_attempt_s(settings: Settings) -> int:
    """Seconds that are longer than any attempt at a job can take."""
    return settings.job_time_limit_s + KILL_AFTER_S + FAILURE_GRACE_S


class JobQueue:
    """The messages to workers.

    Args:
        celery: as `celery_app` makes it.
        max_limit_s: the time limit of any job.
    """

    def __init__(self, celery: Celery, max_limit_s: int) -> None:
        self._celery = celery
        self._max_limit_s = max_limit_s

    def publish(self, request: Request) -> None:
        """Send the message of a job; QueueUnavailable."""
        soft_s = _soft_limit_of(request, self._max_limit_s)
        limits = {"soft_time_limit": soft_s, "time_limit": soft_s + KILL_AFTER_S}
        try:
            self._celery.send_task(SEGMENT_TASK, args=[request.id], task_id=request.id, queue=QUEUE, **limits)
        except (OperationalError, RedisError) as error:
            raise QueueUnavailable("The queue does not answer; try again later.") from error


def celery_app(settings: Settings) -> Celery:
    """A Celery application on the settings' Redis; it connects when it is first used."""
    hard_limit_s = settings.job_time_limit_s + KILL_AFTER_S
    visibility_s = hard_limit_s + ACKNOWLEDGEMENT_GRACE_S  # set wherever Celery or kombu may look for it
    transport.register()
    app = Celery("metseg", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # A message returns to the queue unless its task ended; `metseg.jobs.runner` limits how often.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_soft_time_limit=settings.job_time_limit_s,
        task_time_limit=hard_limit_s,
        visibility_timeout=visibility_s,
        result_backend_transport_options={"visibility_timeout": visibility_s},
        broker_transport_options={
            "visibility_timeout": visibility_s,
            "socket_timeout": settings.redis_timeout_s,
            "socket_connect_timeout": settings.redis_timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "connect_retries_timeout": settings.redis_timeout_s,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        broker_connection_timeout=settings.redis_timeout_s,
        # A worker retries its connection to the broker for ever, at the start and later.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A running job continues after a lost connection: its lease keeps a second delivery from starting it again.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=30.0,
        worker_enable_soft_shutdown_on_idle=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_detect_quorum_queues=False,
        task_track_started=False,
    )
    return app

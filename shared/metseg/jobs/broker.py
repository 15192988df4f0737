"""The one Celery configuration, which the gateway publishes with and the worker consumes with.

A message names a job and nothing else; what a message may get wrong (lost, delivered twice, late) `metseg.jobs.service`
puts right, because the store knows what was accepted and what was done.
"""

from celery import Celery

from metseg.settings import Settings

__all__ = ["CANARY", "QUEUE", "TASK", "TIME_TO_FAIL_S", "broker", "soft_limit_s"]

TASK = "metseg.segment"
QUEUE = "metseg"
CANARY = "metseg.canary"
TIME_TO_FAIL_S = 60
"""Between the soft limit, at which a task may still say why it failed, and the hard one, which kills it."""
TIME_TO_ACKNOWLEDGE_S = 300
BASE_LIMIT_S = 300
LIMIT_S_A_MIB = 60


def soft_limit_s(size_bytes: int, longest_s: int) -> int:
    """How long a job may run: its input's size in MiB times a minute, and five more; never longer than `longest_s`.

    A study of 30 slices has about 3 MB and takes some ten seconds; what hangs is stopped long before the longest time.
    """
    return min(longest_s, round(BASE_LIMIT_S + LIMIT_S_A_MIB * size_bytes / 2**20))


def broker(settings: Settings) -> Celery:
    """A Celery application on the settings' Redis; it connects when it is used."""
    hard_limit_s = settings.job_time_limit_s + TIME_TO_FAIL_S
    visibility_s = hard_limit_s + TIME_TO_ACKNOWLEDGE_S  # in each place that Celery or kombu may look at
    app = Celery("metseg", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # A message is given back unless its task ended; how often that may happen, `metseg.jobs.service` counts.
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
        # A worker never gives up on the broker, neither when it starts nor later.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A running job outlives a lost connection: its claim tells a second delivery that it is in good hands.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=30.0,
        worker_enable_soft_shutdown_on_idle=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_detect_quorum_queues=False,
        task_track_started=False,
    )
    return app

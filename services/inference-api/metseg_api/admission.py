"""Admission control: whether a submission is accepted, decided before its body is read.

It depends on free disk space, the length of the queue and the caller's own jobs. The counts are in Redis. If Redis is
down nothing is accepted, since nothing could be queued either; if Redis was emptied the counts start from zero, which
lets a caller submit twice as much for one minute.
"""

import math
import shutil
import tempfile

from metseg.errors import QueueFull, StorageFull, TooManyRequests
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway

__all__ = ["admit", "check_free_disk"]


def admit(gateway: Gateway, caller: Caller, content_length: int) -> None:
    """Admit a submission, and count it.

    Args:
        gateway: whose settings limit submissions.
        caller: who submits; without API keys all callers count as one.
        content_length: of the body, in bytes; 0 if unknown.

    Raises:
        StorageFull: the disk of the gateway or of the store would be filled beyond the reserve.
        QueueFull: the queue has its maximum length.
        TooManyRequests: the caller has too many open jobs, or submitted too many in a minute.
        QueueUnavailable: Redis does not answer.
    """
    settings, jobs = gateway.settings, gateway.jobs
    check_free_disk(gateway, content_length)
    load = jobs.queue_load(caller.tag)
    if load.waiting >= settings.queue_limit:
        raise QueueFull(f"{load.waiting} jobs are waiting already; submit again when some are done.")
    if load.open >= settings.key_open_jobs:
        raise TooManyRequests(
            f"You have {settings.key_open_jobs} jobs that wait or run; submit again when one is done."
        )
    if wait_s := jobs.admit(caller.tag, settings.key_jobs_per_minute):
        refusal = TooManyRequests(f"You may submit {settings.key_jobs_per_minute} studies per minute; wait a little.")
        refusal.retry_after_s = math.ceil(wait_s)
        raise refusal


def check_free_disk(gateway: Gateway, content_length: int = 0) -> None:
    """Refuse work before a disk is full.

    Args:
        gateway: whose settings reserve disk space.
        content_length: bytes that are about to be written.

    Raises:
        StorageFull: less than the reserve would be left.
    """
    free_bytes = (shutil.disk_usage(tempfile.gettempdir()).free, gateway.store.free_bytes())
    least = min(each for each in free_bytes if each is not None)
    if least - content_length < gateway.settings.disk_reserve_bytes:
        raise StorageFull("Too little disk space is left for this upload; delete jobs, or ask the operator.")

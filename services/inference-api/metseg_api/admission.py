"""Admission control: whether a submission is accepted, decided before its body is read.

It depends on free disk space, the length of the queue and the caller's own jobs; of these, again once the number of
slices is known. The counts are in Redis. If Redis is
down nothing is accepted, since nothing could be queued either; if Redis was emptied the counts start from zero, which
lets a caller submit twice as much for one minute.
"""

import math
import shutil
import tempfile

from metseg.errors import QueueFull, StorageFull, TooManyRequests
from metseg.jobs import SLICES_PER_PLACE, QueueLoad, places_of
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway

__all__ = ["admit", "check_free_disk", "check_share"]


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
    _check_share(gateway, caller, load, 1)
    if wait_s := jobs.admit(caller.tag, settings.key_jobs_per_minute):
        refusal = TooManyRequests(f"You may submit {settings.key_jobs_per_minute} studies per minute; wait a little.")
        refusal.retry_after_s = math.ceil(wait_s)
        raise refusal


def check_share(gateway: Gateway, caller: Caller, slices: int | None) -> None:
    """Refuse a study that would take more than a caller's share of the queue.

    Args:
        gateway: whose settings limit submissions.
        caller: who submits.
        slices: of the study, if known.

    Raises:
        TooManyRequests: the caller's open jobs leave no room for it.
        QueueUnavailable: Redis does not answer.
    """
    _check_share(gateway, caller, gateway.jobs.queue_load(caller.tag), places_of(slices))


def _check_share(gateway: Gateway, caller: Caller, load: QueueLoad, places: int) -> None:
    """A key may have as many places as the queue has free ones, so that no number of keys fills it."""
    settings = gateway.settings
    free = math.inf if caller.name is None else settings.queue_limit - load.waiting
    allowed = min(settings.key_open_jobs, free)
    if load.places and load.places + places > allowed:
        raise TooManyRequests(
            f"Your open jobs take {load.places} of the {allowed} places that you may have now, one for every "
            f"{SLICES_PER_PLACE} slices of a job; submit again when one is done."
        )


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

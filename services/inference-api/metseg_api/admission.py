"""Whether a submission may come in, told before its body is read: room on the disks, in the queue, for its caller.

Counts lie in Redis. Where Redis is away nothing is let in, since nothing could be queued either; where it was emptied
the counts begin anew, which lets a caller submit twice as much for one minute.
"""

import math
import shutil
import tempfile

from metseg.errors import QueueFull, StorageFull, TooManyRequests
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway

__all__ = ["admit", "check_disks"]

WINDOW_S = 60.0


def admit(gateway: Gateway, caller: Caller, announced_bytes: int) -> None:
    """Let a submission in, and count it.

    Args:
        gateway: whose settings say how much is too much.
        caller: whose it is; where the gateway has no keys, all who reach it are one caller.
        announced_bytes: of its body; 0 where nothing was announced.

    Raises:
        StorageFull: the disk of the spool or the store would be filled beyond the reserve.
        QueueFull: as many jobs wait as may.
        TooManyRequests: the caller has as many open jobs as one may have, or submitted too many in a minute.
        QueueUnavailable: Redis does not answer.
    """
    settings, jobs = gateway.settings, gateway.jobs
    check_disks(gateway, announced_bytes)
    load = jobs.queue_load(caller.tag)
    if load.waiting >= settings.queue_limit:
        raise QueueFull(f"{load.waiting} jobs wait already; submit again when some are done.")
    if load.open >= settings.key_open_jobs:
        raise TooManyRequests(
            f"You have {settings.key_open_jobs} jobs that wait or run; submit again when one is done."
        )
    if wait_s := jobs.admit(caller.tag, settings.key_jobs_per_minute, WINDOW_S):
        refusal = TooManyRequests(f"You may submit {settings.key_jobs_per_minute} studies a minute; wait a little.")
        refusal.retry_after_s = math.ceil(wait_s)
        raise refusal


def check_disks(gateway: Gateway, announced_bytes: int = 0) -> None:
    """Notice a disk that is nearly full before it is.

    Raises:
        StorageFull: less than the reserve would be left.
    """
    rooms = (shutil.disk_usage(tempfile.gettempdir()).free, gateway.store.free_bytes())
    least = min(room for room in rooms if room is not None)
    if least - announced_bytes < gateway.settings.disk_reserve_bytes:
        raise StorageFull("Too little room is left for this upload; delete jobs, or ask the operator to make room.")

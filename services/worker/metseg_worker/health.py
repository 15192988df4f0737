"""Whether the worker of this container acknowledges its liveness probes: `python -m metseg_worker.health`.

While its child computes, the main process acknowledges them, so that a long job does not look like a dead worker.
"""

import sys
from socket import gethostname

from metseg.errors import QueueUnavailable
from metseg.jobs import RedisConnection, WorkerRegistry
from metseg.settings import settings

__all__ = ["is_healthy"]


def is_healthy(node: str) -> bool:
    """Whether the node's last liveness probe was acknowledged; False also where the queue is unavailable."""
    try:
        return WorkerRegistry(RedisConnection.open(settings())).probe_acknowledged(node)
    except QueueUnavailable:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_healthy(f"celery@{gethostname()}") else 1)

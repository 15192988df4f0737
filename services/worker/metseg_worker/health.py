"""Whether the worker of this container answers its canary: `python -m metseg_worker.health`, for the health check.

While its child computes, the main process answers for it, so that a long job does not look like a dead worker.
"""

import sys
from socket import gethostname

import redis

from metseg.errors import QueueUnavailable
from metseg.jobs import Live
from metseg.settings import settings

__all__ = ["answers"]


def answers(node: str) -> bool:
    """Whether the node's last canary was answered; False also where the queue is away."""
    timeout_s = settings().redis_timeout_s
    client = redis.Redis.from_url(settings().redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    try:
        return Live(client, claim_ttl_s=0, cancel_ttl_s=0).answers(node)
    except QueueUnavailable:
        return False


if __name__ == "__main__":
    sys.exit(0 if answers(f"celery@{gethostname()}") else 1)

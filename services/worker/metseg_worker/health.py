"""Whether the worker of this container answers: `python -m metseg_worker.health`, for the health check.

The main process answers while its child computes, so a long job does not look like a dead worker.
"""

import sys
from socket import gethostname

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from metseg.jobs import broker
from metseg.settings import settings

__all__ = ["answers"]

TIMEOUT_S = 5.0


def answers(node: str) -> bool:
    """Whether the node takes part in the queue; False also where the queue is away."""
    try:
        return bool(broker(settings()).control.ping(destination=[node], timeout=TIMEOUT_S))
    except (OperationalError, RedisError):
        return False


if __name__ == "__main__":
    sys.exit(0 if answers(f"celery@{gethostname()}") else 1)

"""Which workers are alive: heartbeats of their main processes, and replies of their children to liveness probes."""

import math
from typing import Final

from metseg.jobs.redis_connection import PREFIX, RedisConnection

__all__ = ["WorkerRegistry"]

HEARTBEATS: Final = f"{PREFIX}workers"  # sorted set: a worker's name by the time of its last heartbeat
HEARTBEAT_TTL_S: Final = 60.0
PROBE_TTL_S: Final = 45


class WorkerRegistry:
    """The workers of a deployment, in Redis; each call may raise QueueUnavailable."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis

    def heartbeat(self, worker: str) -> None:
        """Record that a worker is alive."""
        with self._redis.errors():
            self._redis.client.zadd(HEARTBEATS, {worker: self._now_s()})

    def count(self) -> int:
        """How many workers sent a heartbeat within the last minute; all others are removed."""
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            oldest = self._now_s() - HEARTBEAT_TTL_S
            _, alive = pipe.zremrangebyscore(HEARTBEATS, "-inf", oldest).zcard(HEARTBEATS).execute()
        return int(alive)

    def _now_s(self) -> float:
        """The time of Redis, so that a host with a wrong clock neither hides workers nor keeps dead ones."""
        seconds, microseconds = self._redis.client.time()
        return float(seconds + microseconds / 1e6)

    def acknowledge_probe(self, worker: str) -> None:
        """Record that a worker's child ran its liveness probe."""
        with self._redis.errors():
            self._redis.client.set(_probe_key(worker), "1", ex=PROBE_TTL_S)

    def probe_age_s(self, worker: str) -> float:
        """Seconds since a worker's child last ran a liveness probe; infinite where that is more than 45 seconds."""
        with self._redis.errors():
            left_ms = self._redis.client.pttl(_probe_key(worker))
        return PROBE_TTL_S - left_ms / 1000 if left_ms >= 0 else math.inf

    def probe_acknowledged(self, worker: str) -> bool:
        """Whether a worker's child ran a liveness probe within the last 45 seconds."""
        return math.isfinite(self.probe_age_s(worker))


def _probe_key(worker: str) -> str:
    return f"{PREFIX}probe:{worker}"

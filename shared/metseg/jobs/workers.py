"""Which workers are alive: heartbeats of their main processes, and replies of their children to liveness probes."""

import math
from typing import Final

from metseg.jobs.redis_connection import PREFIX, RedisConnection, text

__all__ = ["WorkerRegistry"]

HEARTBEATS: Final = f"{PREFIX}workers"  # sorted set: a worker's name by the time of its last heartbeat
HEARTBEAT_TTL_S: Final = 60.0
PROBE_TTL_S: Final = 45


class WorkerRegistry:
    """The workers of a deployment, in Redis; each call may raise QueueUnavailable."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis

    def heartbeat(self, worker: str, memory_bytes: int | None = None) -> None:
        """Record that a worker is alive.

        Args:
            worker: its name.
            memory_bytes: of its container; None: not known.
        """
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            pipe.zadd(HEARTBEATS, {worker: self._now_s()})
            if memory_bytes is not None:
                pipe.set(_memory_key(worker), memory_bytes, ex=int(HEARTBEAT_TTL_S))
            pipe.execute()

    def memory_bytes(self) -> int | None:
        """Memory of the smallest container of a live worker; None if that of none is known."""
        with self._redis.errors():
            alive = self._redis.client.zrangebyscore(HEARTBEATS, self._now_s() - HEARTBEAT_TTL_S, "+inf")
            known = self._redis.client.mget([_memory_key(text(name)) for name in alive]) if alive else []
        return min((int(each) for each in known if each is not None), default=None)

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


def _memory_key(worker: str) -> str:
    return f"{PREFIX}worker-memory:{worker}"


def _probe_key(worker: str) -> str:
    return f"{PREFIX}probe:{worker}"

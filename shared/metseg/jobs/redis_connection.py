"""The connection to Redis, and the names of all keys that jobs have there.

Every failure of Redis becomes a `QueueUnavailable`. After a time-out all calls of the following second fail at once, so
that a Redis that hangs does not block its callers one after another.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from metseg.errors import QueueUnavailable
from metseg.settings import Settings

__all__ = ["RedisConnection"]

PREFIX: Final = "metseg:"
CIRCUIT_OPEN_S: Final = 1.0


class RedisConnection:
    """A Redis client that fails fast.

    Args:
        client: of the Redis that the broker uses too, with socket time-outs; its retries are set here.

    Attributes:
        client: the same, to be used within `errors`.
    """

    def __init__(self, client: "redis.Redis") -> None:
        client.set_retry(Retry(ConstantBackoff(0.05), 1, supported_errors=(redis.ConnectionError,)))
        self.client: Any = client  # redis-py types each method for asyncio as well, which mypy cannot use here
        self._unavailable_until = 0.0

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """A connection to the settings' Redis, made when it is first used."""
        timeout_s = settings.redis_timeout_s
        return cls(redis.Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s))

    def close(self) -> None:
        """Close all sockets."""
        self.client.close()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Translate what Redis raises within the block to `QueueUnavailable`."""
        if time.monotonic() < self._unavailable_until:
            raise QueueUnavailable("The queue does not answer; try again later.")
        try:
            yield
        except RedisError as error:
            if isinstance(error, redis.TimeoutError):
                self._unavailable_until = time.monotonic() + CIRCUIT_OPEN_S
            raise QueueUnavailable("The queue does not answer; try again later.") from error

    def check(self) -> None:
        """Check that Redis answers; QueueUnavailable."""
        with self.errors():
            self.client.ping()

    @contextlib.contextmanager
    def lock(self, name: str, ttl_s: float) -> Iterator[Callable[[], None] | None]:
        """Try to take a lock for the length of the block; QueueUnavailable.

        Args:
            name: of the lock.
            ttl_s: seconds after which it expires unless it is renewed.

        Yields:
            A function that renews it, QueueUnavailable where it has expired; None where another process holds it.
        """
        lock = self.client.lock(f"{PREFIX}lock:{name}", timeout=ttl_s, blocking=False)
        with self.errors():
            acquired: bool = lock.acquire()

        def renew() -> None:
            with self.errors():
                lock.reacquire()

        try:
            yield renew if acquired else None
        finally:
            if acquired:
                with contextlib.suppress(QueueUnavailable), self.errors():  # a lock that has expired is fine, too
                    lock.release()


def lease_key(job_id: str) -> str:
    """Holds the token of the worker that leases the job."""
    return f"{PREFIX}{job_id}:lease"


def cancelled_key(job_id: str) -> str:
    """Exists while no worker may lease the job."""
    return f"{PREFIX}{job_id}:cancelled"


def progress_key(job_id: str) -> str:
    """Holds a hash: `done` and `total` slices."""
    return f"{PREFIX}{job_id}:progress"


def watched_key(job_id: str) -> str:
    """Exists while somebody looks at the previews of a job."""
    return f"{PREFIX}{job_id}:watched"


def finished_channel(job_id: str) -> str:
    """Where the end of a job is published."""
    return f"{PREFIX}{job_id}:finished"


def text(reply: bytes | str) -> str:
    """A reply of a client that may or may not decode its replies."""
    return reply.decode() if isinstance(reply, bytes) else reply

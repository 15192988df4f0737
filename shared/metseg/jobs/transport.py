"""Kombu's transport for Redis, with one correction: an acknowledgement that fails does not end a worker's consumption.

Kombu counts a message as delivered until its acknowledgement has reached Redis. If Redis hangs for longer than the
socket's time-out just then, the acknowledgement fails, Celery only logs that, and the message is counted for ever: a
worker that prefetches one message takes none again (celery issues 2415, 8030 and 10302 show the same symptom).

Here the message stops to count. Redis still has it as not acknowledged and delivers it again after the visibility
time-out; `JobRunner.lease` then finds that there is nothing to do.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual

__all__ = ["RedisTransport", "register"]


class _QoS(redis.QoS):
    def ack(self, delivery_tag: Any) -> None:  # noqa: ANN401 (an opaque value of kombu's)
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


class _Channel(redis.Channel):
    QoS = _QoS


class RedisTransport(redis.Transport):
    """As kombu's, with the corrected acknowledgement."""

    Channel = _Channel


def register() -> None:
    """Let this process use the transport for every URL of a Redis."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{RedisTransport.__name__}"

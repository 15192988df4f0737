"""A message whose acknowledgement failed no longer keeps a worker from taking the next."""

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metseg.jobs import celery_app
from metseg.jobs.transport import RedisTransport
from metseg.settings import Settings


@pytest.mark.parametrize("url", ["redis://localhost:1/0", "rediss://localhost:1/0", "redis+socket:///tmp/none"])
def test_the_transport_serves_every_redis_url(url):
    with celery_app(Settings(redis_url="redis://localhost:1/0")):
        assert issubclass(Connection(url).transport_cls and Connection(url).get_transport_cls(), RedisTransport)


class Channel:
    connection_errors = (RedisTimeoutError, OperationalError)
    keyprefix_queue = ""

    def conn_or_acquire(self, client=None):
        raise RedisTimeoutError("Timeout reading from socket")


def test_a_failed_acknowledgement_does_not_block_the_next_message():
    qos = RedisTransport.Channel.QoS.__new__(RedisTransport.Channel.QoS)
    qos.channel, qos.prefetch_count, qos._delivered, qos._dirty = Channel(), 1, {"tag": "message"}, set()
    qos._quick_ack = qos._dirty.add
    assert not qos.can_consume()
    with pytest.raises(RedisTimeoutError):
        qos.ack("tag")
    assert qos.can_consume()

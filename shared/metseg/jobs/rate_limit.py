"""How many submissions an owner may make per minute."""

import time
import uuid
from typing import Final

from metseg.jobs.redis_connection import PREFIX, RedisConnection, text

__all__ = ["RateLimiter"]

WINDOW_S = 60.0

ADMIT: Final = """
redis.call('zremrangebyscore', KEYS[1], '-inf', ARGV[1] - ARGV[2])
if redis.call('zcard', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('zadd', KEYS[1], ARGV[1], ARGV[4])
  redis.call('expire', KEYS[1], math.ceil(ARGV[2]))
  return '0'
end
return tostring(redis.call('zrange', KEYS[1], 0, 0, 'withscores')[2] + ARGV[2] - ARGV[1])
"""


class RateLimiter:
    """A sliding window for each owner, in Redis."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis
        self._admit = redis.client.register_script(ADMIT)

    def admit(self, owner: str, max_per_minute: int) -> float:
        """Count one more submission, unless the owner has made too many; QueueUnavailable.

        Args:
            owner: an owner's tag.
            max_per_minute: submissions in any 60 seconds.

        Returns:
            0 where it was counted, else the seconds until the next one can be.
        """
        args = [time.time(), WINDOW_S, max_per_minute, uuid.uuid4().hex]
        with self._redis.errors():
            wait_s = self._admit(keys=[f"{PREFIX}rate:{owner}"], args=args)
        return max(0.0, float(text(wait_s)))

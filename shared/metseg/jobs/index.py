"""What Redis knows of jobs: order, progress, claims and wake-ups. All of it may be lost; the store is the truth.

Every failure of Redis is a `QueueUnavailable`. After a time-out the next second's calls fail at once, so that a
Redis that hangs does not hang its callers one by one.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from metseg.contracts import Progress
from metseg.errors import QueueUnavailable
from metseg.jobs.broker import QUEUE
from metseg.jobs.ids import NOBODY, owner

__all__ = ["Crowd", "Line", "Live", "Sighting"]

PREFIX: Final = "metseg:"
INDEX: Final = f"{PREFIX}index"  # ids of all jobs; they sort by time
WHOLE: Final = f"{PREFIX}index-whole"  # there while the index has not been lost
SCANNED: Final = f"{PREFIX}scanned"  # there while the store was searched not long ago
OPEN: Final = f"{PREFIX}open"  # ids of the jobs that are not final
WAITING: Final = f"{PREFIX}waiting"  # ids by the time they were queued
FIGURES: Final = f"{PREFIX}figures"  # counts by field, see metseg.jobs.metrics
WORKERS: Final = f"{PREFIX}workers"  # names of workers by the time of their last sign of life
AWAY_S: Final = 1.0
CANARY_TTL_S: Final = 45

HOLD: Final = """
if redis.call('exists', KEYS[2]) == 1 then return 'cancelled' end
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 'taken' end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
if ARGV[4] then
  redis.call('hset', KEYS[3], 'done', ARGV[4], 'total', ARGV[5])
  redis.call('expire', KEYS[3], ARGV[3])
end
return 'held'
"""
RELEASE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

ADMIT: Final = """
redis.call('zremrangebyscore', KEYS[1], '-inf', ARGV[1] - ARGV[2])
if redis.call('zcard', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('zadd', KEYS[1], ARGV[1], ARGV[4])
  redis.call('expire', KEYS[1], math.ceil(ARGV[2]))
  return '0'
end
return tostring(redis.call('zrange', KEYS[1], 0, 0, 'withscores')[2] + ARGV[2] - ARGV[1])
"""
"""A sliding window: in any `ARGV[2]` seconds `ARGV[3]` are let in; what is not is told how long until the next."""


class Sighting(NamedTuple):
    """What can be seen of a job while it waits or runs."""

    position: int | None
    claimed: bool
    progress: Progress | None


class Crowd(NamedTuple):
    """What stands in the way of one more job.

    Attributes:
        waiting: for a worker, of all owners.
        open: of its owner, that wait or run.
    """

    waiting: int
    open: int


class Line(NamedTuple):
    """The jobs that are not final.

    Attributes:
        waiting: for a worker.
        oldest_s: how long the first of them has waited; 0 where none waits.
        working: in a worker's hands, or between two attempts.
    """

    waiting: int
    oldest_s: float
    working: int


class Live:
    """The quick and forgetful side of jobs.

    Args:
        client: of the Redis that the broker uses too; how often it retries is set here.
        claim_ttl_s: how long a claim lasts that nobody renews.
        cancel_ttl_s: how long a cancellation is remembered, longer than any job runs.
    """

    def __init__(self, client: "redis.Redis", *, claim_ttl_s: float, cancel_ttl_s: int) -> None:
        client.set_retry(Retry(ConstantBackoff(0.05), 1, supported_errors=(redis.ConnectionError,)))
        self._redis: Any = client  # its methods are typed for asyncio as well, which says nothing here
        self.claim_ttl_s = claim_ttl_s
        self._cancel_ttl_s = cancel_ttl_s
        self._hold, self._release = client.register_script(HOLD), client.register_script(RELEASE)
        self._admit = client.register_script(ADMIT)
        self._away_until = 0.0

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        if time.monotonic() < self._away_until:
            raise QueueUnavailable("The queue does not answer; try again later.")
        try:
            yield
        except RedisError as error:
            if isinstance(error, redis.TimeoutError):
                self._away_until = time.monotonic() + AWAY_S
            raise QueueUnavailable("The queue does not answer; try again later.") from error

    def check(self) -> None:
        """See whether Redis answers."""
        with self._errors():
            self._redis.ping()

    # The life of a job, as far as it is seen from outside

    def enter(self, job_id: str) -> None:
        """A new job: indexed, open, and last in line."""
        with self._errors(), self._redis.pipeline() as pipe:
            for index in _indices(job_id):
                pipe.zadd(index, {job_id: 0})
            for name in _open_sets(job_id):
                pipe.sadd(name, job_id)
            pipe.zadd(WAITING, {job_id: time.time()}, nx=True).execute()

    def start(self, job_id: str) -> None:
        """A job left the line."""
        with self._errors(), self._redis.pipeline() as pipe:
            pipe.zrem(WAITING, job_id).delete(_progress(job_id)).execute()

    def close(self, job_id: str) -> None:
        """A job is final; wake who waits for it."""
        with self._errors(), self._redis.pipeline() as pipe:
            self._leave(pipe, job_id).execute()

    def forget(self, job_id: str) -> None:
        """A job is no more."""
        with self._errors(), self._redis.pipeline() as pipe:
            self._leave(pipe, job_id)
            for index in _indices(job_id):
                pipe.zrem(index, job_id)
            pipe.execute()

    @staticmethod
    def _leave(pipe: Any, job_id: str) -> Any:  # noqa: ANN401 (a pipeline, typed like the client)
        for name in _open_sets(job_id):
            pipe.srem(name, job_id)
        pipe.zrem(WAITING, job_id).delete(_progress(job_id))
        return pipe.publish(_bell(job_id), "1")

    def is_open(self, job_id: str) -> bool:
        """Whether a job is known and not final; its end, or its deletion, will ring."""
        with self._errors():
            return bool(self._redis.sismember(OPEN, job_id))

    def sight(self, job_id: str) -> Sighting:
        """What can be seen of a job that is not final."""
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            pipe.zrank(WAITING, job_id).exists(_claim(job_id)).hmget(_progress(job_id), "done", "total")
            rank, claimed, (done, total) = pipe.execute()
        progress = None if total is None else Progress(done=int(done), total=int(total))
        return Sighting(None if rank is None else rank + 1, bool(claimed), progress)

    @contextlib.contextmanager
    def bell(self, job_id: str) -> Iterator[Callable[[float], None]]:
        """A function that sleeps until the job changes, at most the seconds it is given."""
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            with contextlib.suppress(RedisError):
                subscription.subscribe(_bell(job_id))
                subscription.get_message(timeout=1)  # the confirmation, so that nothing is missed from here on

            def sleep(seconds: float) -> None:
                begun = time.monotonic()
                try:
                    subscription.get_message(timeout=seconds)
                except (RedisError, RuntimeError):  # away, or never subscribed
                    time.sleep(max(0.0, min(seconds, AWAY_S) - (time.monotonic() - begun)))

            yield sleep

    # Claims

    def hold(self, job_id: str, token: str, progress: Progress | None = None) -> str:
        """Take or renew the claim on a job, and note how far it is: 'held', 'taken' by another, or 'cancelled'."""
        keys = [_claim(job_id), _cancelled(job_id), _progress(job_id)]
        told = [] if progress is None else [progress.done, progress.total]
        with self._errors():
            answer = self._hold(keys=keys, args=[token, int(self.claim_ttl_s * 1000), self._cancel_ttl_s, *told])
        return _text(answer)

    def release(self, job_id: str, token: str) -> None:
        """Give up a claim; another's is left alone."""
        with self._errors():
            self._release(keys=[_claim(job_id)], args=[token])

    def claim_left_s(self, job_id: str) -> float:
        """How long the claim on a job lasts unless it is renewed; 0 where there is none."""
        with self._errors():
            return float(max(0, self._redis.pttl(_claim(job_id)))) / 1000

    def cancel(self, job_id: str) -> None:
        """Let no worker begin or renew a claim on a job."""
        with self._errors():
            self._redis.set(_cancelled(job_id), "1", ex=self._cancel_ttl_s)

    # All jobs

    def crowd(self, owner: str) -> Crowd:
        """How many jobs wait, and how many of an owner's are open."""
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            waiting, owned = pipe.zcard(WAITING).scard(_open_of(owner)).execute()
        return Crowd(int(waiting), int(owned))

    def line(self) -> Line:
        """How many jobs wait, how long, and how many are worked on."""
        with self._errors(), self._redis.pipeline() as pipe:
            waiting, first, unfinished = (
                pipe.zcard(WAITING).zrange(WAITING, 0, 0, withscores=True).scard(OPEN).execute()
            )
        oldest_s = max(time.time() - first[0][1], 0.0) if first else 0.0
        return Line(int(waiting), oldest_s, max(int(unfinished) - int(waiting), 0))

    def count(self, added: Mapping[str, float]) -> None:
        """Add to counts, by field."""
        with self._errors(), self._redis.pipeline() as pipe:
            for field, value in added.items():
                pipe.hincrbyfloat(FIGURES, field, value)
            pipe.execute()

    def counted(self) -> dict[str, float]:
        """All counts, by field."""
        with self._errors():
            return {_text(field): float(value) for field, value in self._redis.hgetall(FIGURES).items()}

    def present(self, worker: str) -> None:
        """A worker gives a sign of life."""
        with self._errors():
            self._redis.zadd(WORKERS, {worker: time.time()})

    def answer(self, worker: str) -> None:
        """A worker's child answers its canary."""
        with self._errors():
            self._redis.set(_canary(worker), "1", ex=CANARY_TTL_S)

    def answers(self, worker: str) -> bool:
        """Whether a worker's canary was answered lately."""
        with self._errors():
            return bool(self._redis.exists(_canary(worker)))

    def workers(self, silent_s: float) -> int:
        """How many workers gave a sign of life lately; those silent for longer are forgotten."""
        with self._errors(), self._redis.pipeline() as pipe:
            _, alive = pipe.zremrangebyscore(WORKERS, "-inf", time.time() - silent_s).zcard(WORKERS).execute()
        return int(alive)

    def admit(self, owner: str, most: int, window_s: float) -> float:
        """Count one more submission of an owner.

        Returns:
            0; or, where `most` came in the last `window_s` seconds, how long until the next may come.
        """
        now = time.time()
        with self._errors():
            answer = self._admit(keys=[f"{PREFIX}rate:{owner}"], args=[now, window_s, most, uuid.uuid4().hex])
        return max(0.0, float(_text(answer)))

    def newest(self, limit: int, before: str | None, owner: str | None = None) -> list[str] | None:
        """Ids of the newest jobs before a certain one, of one owner's tag or of all; None where the index was lost."""
        index = INDEX if owner is None else _index_of(owner)
        with self._errors(), self._redis.pipeline() as pipe:
            pipe.exists(WHOLE).zrevrangebylex(index, f"({before}" if before else "+", "-", start=0, num=limit)
            whole, ids = pipe.execute()
        return [_text(each) for each in ids] if whole else None

    def rebuild(self, job_ids: Iterable[str]) -> None:
        """Make the index whole again."""
        with self._errors(), self._redis.pipeline() as pipe:
            for job_id in job_ids:
                for index in _indices(job_id):
                    pipe.zadd(index, {job_id: 0})
            pipe.set(WHOLE, "1").execute()

    def open_jobs(self) -> list[str] | None:
        """Ids of the jobs that are not final; None where it is time to search the store for them."""
        with self._errors(), self._redis.pipeline() as pipe:
            scanned, ids = pipe.exists(SCANNED).smembers(OPEN).execute()
        return sorted(map(_text, ids)) if scanned else None

    def reopen(self, job_id: str) -> None:
        """Know again that a job is not final."""
        with self._errors(), self._redis.pipeline() as pipe:
            for name in _open_sets(job_id):
                pipe.sadd(name, job_id)
            pipe.execute()

    def scanned(self, ttl_s: int) -> None:
        """Note that the store was searched."""
        with self._errors():
            self._redis.set(SCANNED, "1", ex=ttl_s)

    def in_queue(self) -> set[str]:
        """The jobs that a message in the queue names; a message's id is its job's."""
        with self._errors():
            messages = self._redis.lrange(QUEUE, 0, -1)
        return {json.loads(message)["headers"]["id"] for message in messages}

    @contextlib.contextmanager
    def alone(self, what: str, ttl_s: int) -> Iterator[bool]:
        """Whether nobody else does the same inside this block."""
        token = uuid.uuid4().hex
        name = f"{PREFIX}lock:{what}"
        with self._errors():
            mine = bool(self._redis.set(name, token, nx=True, ex=ttl_s))
        try:
            yield mine
        finally:
            if mine:
                with contextlib.suppress(QueueUnavailable), self._errors():
                    self._release(keys=[name], args=[token])


def _indices(job_id: str) -> tuple[str, ...]:
    """Where a job is listed: among all, and among its owner's."""
    whose = owner(job_id)
    return (INDEX,) if whose == NOBODY else (INDEX, _index_of(whose))


def _open_sets(job_id: str) -> tuple[str, str]:
    return OPEN, _open_of(owner(job_id))


def _open_of(owner: str) -> str:
    return f"{OPEN}:{owner}"


def _index_of(owner: str) -> str:
    return f"{INDEX}:{owner}"


def _canary(worker: str) -> str:
    return f"{PREFIX}canary:{worker}"


def _claim(job_id: str) -> str:
    return f"{PREFIX}{job_id}:claim"


def _cancelled(job_id: str) -> str:
    return f"{PREFIX}{job_id}:cancelled"


def _progress(job_id: str) -> str:
    return f"{PREFIX}{job_id}:progress"


def _bell(job_id: str) -> str:
    return f"{PREFIX}{job_id}:bell"


def _text(answer: bytes | str) -> str:
    """A client may decode its answers or not."""
    return answer.decode() if isinstance(answer, bytes) else answer

"""The index of jobs in Redis: their order, the queue, and what clients wait for.

All of it may be lost: the store holds the truth, and `Maintenance` rebuilds the index from it. Each call but `remove`
may raise QueueUnavailable.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

from metseg.contracts import Progress
from metseg.errors import QueueUnavailable
from metseg.jobs.broker import QUEUE
from metseg.jobs.ids import ANONYMOUS, earliest_id, owner_of
from metseg.jobs.redis_connection import (
    CIRCUIT_OPEN_S,
    PREFIX,
    RedisConnection,
    finished_channel,
    lease_key,
    progress_key,
    text,
    watched_key,
)

__all__ = ["SLICES_PER_PLACE", "IndexCoverage", "JobIndex", "JobSnapshot", "QueueLoad", "QueueStatus", "places_of"]

SLICES_PER_PLACE: Final = 64
WATCHED_S: Final = 5
"""A page asks for a preview each second."""

INDEX: Final = f"{PREFIX}index"  # sorted set: ids of all jobs; they sort by time
COMPLETE: Final = f"{PREFIX}index-complete"  # exists unless the index was lost
REBUILT_TO: Final = f"{PREFIX}index-rebuilt-to"  # the last id that was added to an index that is not complete
SCANNED: Final = f"{PREFIX}scanned"  # exists while the last search of the store is recent
OPEN: Final = f"{PREFIX}open"  # set: ids of the jobs that are not final
PLACES: Final = f"{PREFIX}places"  # hash for each owner: places by the id of a job that is not final
WAITING: Final = f"{PREFIX}waiting"  # sorted set: ids by the time they were queued


class JobSnapshot(NamedTuple):
    """What the index knows of a job that is not final.

    Attributes:
        position: in the queue, from 1; None where it does not wait.
        leased: whether a worker holds its lease.
        progress: of the worker, where it has reported any.
    """

    position: int | None
    leased: bool
    progress: Progress | None


class QueueLoad(NamedTuple):
    """What decides whether one more job is admitted.

    Attributes:
        waiting: jobs of all owners that wait for a worker.
        places: of one owner's jobs that wait or run, as `places_of` weighs them.
    """

    waiting: int
    places: int


class IndexCoverage(NamedTuple):
    """What the index has of the store's jobs.

    Attributes:
        scanned: whether the last search of the store for open jobs is recent.
        complete: whether it has all jobs, open or not.
        rebuilt_to: the last id that was added to an index that is not complete; empty if none was.
        open_ids: of the jobs that are not final.
    """

    scanned: bool
    complete: bool
    rebuilt_to: str
    open_ids: set[str]


class QueueStatus(NamedTuple):
    """The jobs that are not final.

    Attributes:
        waiting: jobs that wait for a worker.
        oldest_s: seconds that the first of them has waited; 0 where none waits.
        working: jobs that a worker has leased, or that are between two attempts.
    """

    waiting: int
    oldest_s: float
    working: int


def places_of(slices: int | None) -> int:
    """What a job of so many slices counts for its owner's share: one, and one more for every 64 further slices."""
    return max(1, math.ceil((slices or 1) / SLICES_PER_PLACE))


class JobIndex:
    """The jobs that Redis knows."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis

    # One job

    def enqueue(self, job_id: str, slices: int | None = None) -> None:
        """Add a job, open and last in the queue.

        Args:
            job_id: of the job.
            slices: of its study, if known.
        """
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            for index in _indices(job_id):
                pipe.zadd(index, {job_id: 0})
            self._open(pipe, job_id, slices)
            pipe.zadd(WAITING, {job_id: time.time()}, nx=True).execute()

    def mark_started(self, job_id: str) -> None:
        """Take a job out of the queue."""
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            pipe.zrem(WAITING, job_id).delete(progress_key(job_id)).execute()

    def mark_finished(self, job_id: str) -> None:
        """Record that a job is final, and notify all clients that wait for it."""
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            self._finish(pipe, job_id).execute()

    def mark_open(self, job_id: str, slices: int | None = None) -> None:
        """Record that a job is not final.

        Args:
            job_id: of the job.
            slices: of its study, if known.
        """
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            self._open(pipe, job_id, slices).execute()

    def remove(self, job_id: str) -> None:
        """Remove a job that was deleted, and notify all clients that wait for it.

        What stays in the index while Redis is down is found to be out of date when it is looked up.
        """
        with contextlib.suppress(QueueUnavailable), self._redis.errors(), self._redis.client.pipeline() as pipe:
            self._finish(pipe, job_id)
            for index in _indices(job_id):
                pipe.zrem(index, job_id)
            pipe.execute()

    @staticmethod
    def _open(pipe: Any, job_id: str, slices: int | None) -> Any:  # noqa: ANN401 (a pipeline, typed like the client)
        return pipe.sadd(OPEN, job_id).hset(_open_of(owner_of(job_id)), job_id, places_of(slices))

    @staticmethod
    def _finish(pipe: Any, job_id: str) -> Any:  # noqa: ANN401 (a pipeline, typed like the client)
        pipe.srem(OPEN, job_id).hdel(_open_of(owner_of(job_id)), job_id)
        pipe.zrem(WAITING, job_id).delete(progress_key(job_id))
        return pipe.publish(finished_channel(job_id), "1")

    def watch(self, job_id: str) -> None:
        """Have previews of a running job drawn for the next seconds."""
        with self._redis.errors():
            self._redis.client.set(watched_key(job_id), "1", ex=WATCHED_S)

    def is_watched(self, job_id: str) -> bool:
        """Whether somebody asked for a preview of a job within the last seconds."""
        with self._redis.errors():
            return bool(self._redis.client.exists(watched_key(job_id)))

    def is_open(self, job_id: str) -> bool:
        """Whether a job is known and not final, so that its end or its deletion will be notified."""
        with self._redis.errors():
            return bool(self._redis.client.sismember(OPEN, job_id))

    def snapshots(self, job_ids: Sequence[str]) -> list[JobSnapshot]:
        """What is known of jobs that are not final, from one request to Redis."""
        with self._redis.errors(), self._redis.client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.zrank(WAITING, job_id).exists(lease_key(job_id)).hmget(progress_key(job_id), "done", "total")
            replies = iter(pipe.execute())
        return [_snapshot(*each) for each in zip(replies, replies, replies, strict=True)]

    @contextlib.contextmanager
    def subscribe(self, job_id: str) -> Iterator[Callable[[float], None]]:
        """Yields a function that sleeps until the job is final or deleted, for the given seconds at most."""
        with self._redis.client.pubsub(ignore_subscribe_messages=True) as subscription:
            with contextlib.suppress(RedisError):
                subscription.subscribe(finished_channel(job_id))
                subscription.get_message(timeout=1)  # the confirmation: from here on no message is missed

            def sleep(seconds: float) -> None:
                started = time.monotonic()
                try:
                    subscription.get_message(timeout=seconds)
                except (RedisError, RuntimeError):  # no connection, or never subscribed
                    time.sleep(max(0.0, min(seconds, CIRCUIT_OPEN_S) - (time.monotonic() - started)))

            yield sleep

    # The queue

    def queue_load(self, owner: str) -> QueueLoad:
        """How many jobs wait, and how many places the open ones of an owner's tag take."""
        with self._redis.errors(), self._redis.client.pipeline(transaction=False) as pipe:
            waiting, places = pipe.zcard(WAITING).hvals(_open_of(owner)).execute()
        return QueueLoad(int(waiting), sum(map(int, places)))

    def queue_status(self) -> QueueStatus:
        """How many jobs wait, for how long, and how many workers work on."""
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            waiting, first, unfinished = (
                pipe.zcard(WAITING).zrange(WAITING, 0, 0, withscores=True).scard(OPEN).execute()
            )
        oldest_s = max(time.time() - first[0][1], 0.0) if first else 0.0
        return QueueStatus(int(waiting), oldest_s, max(int(unfinished) - int(waiting), 0))

    def _queued_ids(self) -> set[str]:
        """The ids of the jobs that the messages in the queue name; a message's id is its job's."""
        with self._redis.errors():
            messages = self._redis.client.lrange(QUEUE, 0, -1)
        return {job_id for message in messages if (job_id := _job_of(message))}

    # All jobs

    def newest(self, limit: int, before: str | None, owner: str | None = None) -> list[str] | None:
        """Ids of the newest jobs.

        Args:
            limit: how many at most.
            before: an id that all of them are older than.
            owner: an owner's tag; None for all jobs.

        Returns:
            The ids, newest first; None where the index was lost.
        """
        index = INDEX if owner is None else _index_of(owner)
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            pipe.exists(COMPLETE).zrevrangebylex(index, f"({before}" if before else "+", "-", start=0, num=limit)
            complete, ids = pipe.execute()
        return [text(each) for each in ids] if complete else None

    def add(self, job_ids: Sequence[str], rebuilt_to: str | None = None) -> bool:
        """Add jobs that the store has.

        Args:
            job_ids: in their order.
            rebuilt_to: for an index that is not complete, the last id that was added before; empty if none was.

        Returns:
            Whether the index still has what was added before.
        """
        members: dict[str, dict[str, int]] = {}
        for job_id in job_ids:
            for index in _indices(job_id):
                members.setdefault(index, {})[job_id] = 0
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            for index, ids in members.items():
                pipe.zadd(index, ids)
            if rebuilt_to is not None:
                last = job_ids[-1] if job_ids else rebuilt_to or earliest_id(0)
                pipe.set(REBUILT_TO, last, xx=bool(rebuilt_to))
            return all(reply is not None for reply in pipe.execute())

    def mark_complete(self) -> None:
        """Record that all jobs of the store were added; QueueUnavailable where Redis has lost them meanwhile."""
        with self._redis.errors():
            self._redis.client.rename(REBUILT_TO, COMPLETE)

    def count(self) -> int:
        """How many jobs it has."""
        with self._redis.errors():
            return int(self._redis.client.zcard(INDEX))

    def coverage(self) -> IndexCoverage:
        """What it has of the store's jobs."""
        with self._redis.errors(), self._redis.client.pipeline() as pipe:
            pipe.exists(SCANNED).exists(COMPLETE).get(REBUILT_TO).smembers(OPEN)
            scanned, complete, rebuilt_to, open_ids = pipe.execute()
        return IndexCoverage(bool(scanned), bool(complete), text(rebuilt_to or ""), set(map(text, open_ids)))

    def unattended(self, job_ids: Iterable[str]) -> list[str]:
        """Those of these jobs that no message in the queue names and no worker has leased, in the order of ids."""
        ids = sorted(set(job_ids) - self._queued_ids())
        with self._redis.errors(), self._redis.client.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.exists(lease_key(job_id))
            return [job_id for job_id, leased in zip(ids, pipe.execute(), strict=True) if not leased]

    def mark_scanned(self, ttl_s: int) -> None:
        """Record that the store was searched; the next search is due after `ttl_s` seconds."""
        with self._redis.errors():
            self._redis.client.set(SCANNED, "1", ex=ttl_s)


def _snapshot(rank: int | None, leased: int, done_and_total: tuple[bytes | None, bytes | None]) -> JobSnapshot:
    done, total = done_and_total
    progress = None if done is None or total is None else Progress(done=int(done), total=int(total))
    return JobSnapshot(None if rank is None else rank + 1, bool(leased), progress)


def _job_of(message: bytes | str) -> str | None:
    """The id of a message's job; None for what is no message of ours."""
    try:
        return str(json.loads(message)["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return None


def _indices(job_id: str) -> tuple[str, ...]:
    """The sorted sets that list a job: that of all jobs, and its owner's."""
    owner = owner_of(job_id)
    return (INDEX,) if owner == ANONYMOUS else (INDEX, _index_of(owner))


def _open_of(owner: str) -> str:
    return f"{PLACES}:{owner}"


def _index_of(owner: str) -> str:
    return f"{INDEX}:{owner}"

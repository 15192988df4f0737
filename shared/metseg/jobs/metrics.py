"""Metrics of jobs, counted in Redis for all workers together.

Counters restart at zero when Redis is emptied, as Prometheus allows. While Redis is down nothing is counted, and no job
waits for it. A name is that of the metric that the gateway shows; a label is the value of its one label.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from metseg.errors import QueueUnavailable
from metseg.jobs.redis_connection import PREFIX, RedisConnection, text

__all__ = ["BUCKETS_S", "Histogram", "JobMetrics", "MetricsSnapshot"]

METRICS: Final = f"{PREFIX}metrics"  # hash: a count by the JSON of its name, label and bucket
BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)
"""Upper bounds of a histogram's buckets, seconds; a bucket without a bound follows."""
SUM: Final = "sum"


class Histogram(NamedTuple):
    """A distribution of durations.

    Attributes:
        counts: of each bucket of `BUCKETS_S` and of the one without a bound; not cumulative.
        sum_s: of all durations.
    """

    counts: tuple[int, ...]
    sum_s: float


class MetricsSnapshot(NamedTuple):
    """All metrics, by name and label."""

    counters: Mapping[tuple[str, str], float]
    histograms: Mapping[tuple[str, str], Histogram]


class JobMetrics:
    """The metrics of a deployment."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis

    def record_start(self, waited_s: float) -> None:
        """Count the first attempt of a job, so many seconds after it was accepted."""
        self._add(_observation("wait", "", waited_s))

    def record_success(self, model: str | None, durations_s: Mapping[str, float]) -> None:
        """Count a job that succeeded.

        Args:
            model: the version that served; None of a follow-up.
            durations_s: of each phase.
        """
        counts = {_field("ended", "succeeded"): 1.0}
        if model is not None:
            counts[_field("served", model)] = 1.0
        for phase, seconds in durations_s.items():
            counts |= _observation("phase", phase, seconds)
        self._add(counts)

    def record_failure(self, problem_type: str) -> None:
        """Count a job that ended with a problem of this type."""
        self._add({_field("ended", problem_type): 1.0})

    def record_recovery(self, jobs: int) -> None:
        """Count lost jobs that were queued again."""
        self._add({_field("recovered", ""): float(jobs)})

    def record_refused_expiry(self, jobs: int) -> None:
        """Count expired jobs that were kept because the clock is in doubt or they are too many."""
        self._add({_field("expiry_refused", ""): float(jobs)})

    def read(self) -> MetricsSnapshot:
        """All metrics; QueueUnavailable."""
        counters: dict[tuple[str, str], float] = {}
        buckets: dict[tuple[str, str], dict[str, float]] = {}
        for field, value in self._counts().items():
            name, label, *bucket = json.loads(field)
            if bucket:
                buckets.setdefault((name, label), {})[bucket[0]] = value
            else:
                counters[name, label] = value
        return MetricsSnapshot(counters, {key: _histogram(counts) for key, counts in buckets.items()})

    def _counts(self) -> dict[str, float]:
        with self._redis.errors():
            return {text(field): float(value) for field, value in self._redis.client.hgetall(METRICS).items()}

    def _add(self, counts: Mapping[str, float]) -> None:
        with suppress(QueueUnavailable), self._redis.errors(), self._redis.client.pipeline() as pipe:
            for field, value in counts.items():
                pipe.hincrbyfloat(METRICS, field, value)
            pipe.execute()


def _observation(name: str, label: str, seconds: float) -> dict[str, float]:
    return {
        _field(name, label, str(bisect_left(BUCKETS_S, seconds))): 1.0,
        _field(name, label, SUM): max(seconds, 0.0),
    }


def _histogram(counts: Mapping[str, float]) -> Histogram:
    by_bucket = tuple(int(counts.get(str(index), 0)) for index in range(len(BUCKETS_S) + 1))
    return Histogram(by_bucket, counts.get(SUM, 0.0))


def _field(*parts: str) -> str:
    return json.dumps(parts)

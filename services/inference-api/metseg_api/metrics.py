"""Prometheus metrics of all processes of the gateway and of all workers, without file names or job IDs."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from metseg.errors import MetsegError, ModelRejected, PoisonedInput, ProcessingFailed, Unavailable
from metseg.jobs import BUCKETS_S, JobService, MetricsSnapshot, WeeklyAgreement
from metseg.registry import Registry
from metseg.storage import ObjectStore
from metseg_api.gateway import Gateway

REQUESTS = Counter("metseg_http_requests", "Requests answered", ["method", "route", "status"])
DURATIONS = Histogram(
    "metseg_http_request_duration_seconds",
    "From the first byte received to the last byte sent",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RECEIVED_BYTES = Counter("metseg_http_received_bytes", "Bytes of request bodies")
SUBMISSIONS = Counter("metseg_submissions", "Submissions by outcome: accepted or the type of the problem", ["outcome"])


OUTCOMES = ("succeeded", PoisonedInput.type, ProcessingFailed.type)
"""Exported from the start, so that the first of a kind is an increase."""


class DeploymentCollector(Collector):
    """The state of the whole deployment, read at each scrape; of a service that is down, only that it is."""

    def __init__(self, jobs: JobService, store: ObjectStore, registry: Registry) -> None:
        self._jobs, self._store, self._registry = jobs, store, registry

    def collect(self) -> Iterator[Metric]:
        """Queue, workers, jobs, agreement, the champion, response times of Redis and the store, and free disk space."""
        seconds = _seconds(self._jobs.check)
        yield from _response_time("redis", "Redis", seconds)
        if seconds is not None:
            with suppress(Unavailable):
                yield from self._queue()
                yield from _job_metrics(self._jobs.metrics())
                yield from _agreement(self._jobs.agreements.weekly(datetime.now(UTC)))
        seconds = _seconds(self._store.check)
        yield from _response_time("store", "the store", seconds)
        if seconds is not None:
            with suppress(Unavailable, ModelRejected):
                yield self._model()
        yield from self._disks()

    def _queue(self) -> Iterator[Metric]:
        queue = self._jobs.queue_status()
        yield GaugeMetricFamily("metseg_queue_depth", "Jobs that wait for a worker", queue.waiting)
        yield GaugeMetricFamily("metseg_queue_oldest_seconds", "How long the first of them has waited", queue.oldest_s)
        yield GaugeMetricFamily("metseg_jobs_in_flight", "Jobs that were started and have not ended", queue.working)
        workers = self._jobs.worker_count()
        yield GaugeMetricFamily("metseg_workers", "Workers with a heartbeat within a minute", workers)

    def _disks(self) -> Iterator[Metric]:
        free = GaugeMetricFamily("metseg_disk_free_bytes", "Free space; of the store if it reports it", labels=["disk"])
        free.add_metric(["spool"], shutil.disk_usage(tempfile.gettempdir()).free)
        with suppress(Unavailable):
            if (room := self._store.free_bytes()) is not None:
                free.add_metric(["store"], room)
        yield free

    def _model(self) -> Metric:
        info = GaugeMetricFamily("metseg_champion_info", "The champion's version", labels=["model"])
        champion = self._registry.champion()
        if champion is not None:
            info.add_metric([champion.version], 1)
        return info


def exposition(gateway: Gateway) -> bytes:
    """The text of `/metrics`."""
    live = CollectorRegistry()
    live.register(DeploymentCollector(gateway.jobs, gateway.store, gateway.registry))
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(live)  # type: ignore[no-untyped-call]
        return generate_latest(live)
    return generate_latest(REGISTRY) + generate_latest(live)


@contextmanager
def count_submission() -> Iterator[None]:
    """Count the submission that the block makes: accepted, or the problem that it raises."""
    try:
        yield
    except MetsegError as error:
        SUBMISSIONS.labels(error.type).inc()
        raise
    SUBMISSIONS.labels("accepted").inc()


def _seconds(check: Callable[[], None]) -> float | None:
    """How long a service took to respond; None if it did not."""
    began = time.perf_counter()
    try:
        check()
    except Unavailable:
        return None
    return time.perf_counter() - began


def _response_time(name: str, what: str, seconds: float | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(f"metseg_{name}_up", f"Whether {what} answers", float(seconds is not None))
    if seconds is not None:
        yield GaugeMetricFamily(f"metseg_{name}_seconds", f"How long {what} took to answer", seconds)


def _job_metrics(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """The counters and histograms of jobs."""
    yield _counter(snapshot, "ended", "Jobs that ended: succeeded or the type of the problem", "outcome", OUTCOMES)
    yield _counter(snapshot, "served", "Jobs that succeeded, by model version", "model")
    recovered = snapshot.counters.get(("recovered", ""), 0.0)
    yield CounterMetricFamily("metseg_jobs_recovered", "Jobs that were lost and queued again", value=recovered)
    refused = snapshot.counters.get(("expiry_refused", ""), 0.0)
    words = "Expired jobs that were kept, at each attempt, since the clock is in doubt or they are too many"
    yield CounterMetricFamily("metseg_jobs_expiry_refused", words, value=refused)
    yield _histogram(snapshot, "wait", "From acceptance to the first attempt")
    yield _histogram(snapshot, "phase", "Of jobs that succeeded, by phase", label="phase")


def _agreement(weekly: Mapping[tuple[str, str], WeeklyAgreement]) -> Iterator[Metric]:
    """How far readers and model agree, by model version and week."""
    for name, words in (
        ("reviews", "Jobs whose newest review is of the week"),
        ("dice", "Mean Dice of the model's mask and the reviewed one"),
        ("lesions_added", "Lesions that readers added"),
        ("lesions_rejected", "Lesions that readers rejected"),
    ):
        family = GaugeMetricFamily(f"metseg_agreement_{name}", words, labels=["model", "week"])
        for labels, agreement in weekly.items():
            family.add_metric(labels, getattr(agreement, name))
        yield family


def _counter(snapshot: MetricsSnapshot, name: str, words: str, label: str, known: Iterable[str] = ()) -> Metric:
    family = CounterMetricFamily(f"metseg_jobs_{name}", words, labels=[label])
    values = dict.fromkeys(known, 0.0)
    values |= {value: count for (each, value), count in snapshot.counters.items() if each == name}
    for value, count in sorted(values.items()):
        family.add_metric([value], count)
    return family


def _histogram(snapshot: MetricsSnapshot, name: str, words: str, label: str | None = None) -> Metric:
    family = HistogramMetricFamily(f"metseg_job_{name}_seconds", words, labels=[label] if label else [])
    limits = [*map(str, BUCKETS_S), "+Inf"]
    for (each, value), histogram in sorted(snapshot.histograms.items()):
        if each == name:
            buckets = list(zip(limits, accumulate(histogram.counts), strict=True))
            family.add_metric([value] if label else [], buckets, histogram.sum_s)
    return family

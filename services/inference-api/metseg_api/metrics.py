"""What Prometheus reads: figures of all gunicorn workers together, without a file's name or a job's id."""

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from metseg.errors import Unavailable
from metseg.jobs import Jobs

REQUESTS = Counter("metseg_http_requests", "Requests answered", ["method", "route", "status"])
DURATIONS = Histogram(
    "metseg_http_request_duration_seconds",
    "From the first byte in to the last byte out",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RECEIVED = Counter("metseg_http_received_bytes", "Bytes of request bodies")
SUBMISSIONS = Counter("metseg_submissions", "Submissions by outcome: accepted or the type of the problem", ["outcome"])


class QueueDepth(Collector):
    """Jobs that wait, asked at each scrape; nothing where the queue is away."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The one gauge."""
        try:
            depth = self._jobs.depth()
        except Unavailable:
            return
        yield GaugeMetricFamily("metseg_queue_depth", "Jobs that wait for a worker", depth)


def exposition(jobs: Jobs) -> bytes:
    """The text of `/metrics`."""
    live = CollectorRegistry()
    live.register(QueueDepth(jobs))
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(live)  # type: ignore[no-untyped-call]
        return generate_latest(live)
    return generate_latest(REGISTRY) + generate_latest(live)

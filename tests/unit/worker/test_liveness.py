"""A worker that acknowledges its liveness probes keeps running; one that no longer responds exits."""

import math

import pytest

from metseg.errors import QueueUnavailable
from metseg_worker.liveness import LivenessProbe


class Workers:
    """The acknowledged probes; the child may be unresponsive, the queue unavailable."""

    unresponsive = away = False

    def acknowledge_probe(self, node):
        self.acknowledged = node

    def probe_age_s(self, node):
        if self.away:
            raise QueueUnavailable("The queue does not answer.")
        return math.inf if self.unresponsive else 1.0


class Celery:
    def __init__(self):
        self.sent = []

    def send_task(self, name, args, **options):
        self.sent.append((name, args, options["routing_key"]))


@pytest.fixture
def worker(monkeypatch):
    """A probe with a clock, its registry, and the exit status."""
    now, left = [0.0], []
    monkeypatch.setattr("metseg_worker.liveness.time.monotonic", lambda: now[0])
    workers, celery, busy = Workers(), Celery(), [False]
    probe = LivenessProbe("celery@here", celery, workers, lambda: busy[0], leave=left.append, max_unanswered=3)

    def goes_on(seconds=4):
        now[0] += seconds
        return probe.probe()

    return goes_on, workers, celery, busy, left


def test_a_worker_that_responds_goes_on(worker):
    goes_on, _, celery, _, left = worker
    assert all(goes_on(60) for _ in range(5))
    assert celery.sent[0] == ("metseg.canary", ["celery@here"], "metseg.canary.celery@here")
    assert left == []


def test_an_unresponsive_worker_exits(worker):
    goes_on, workers, _, _, left = worker
    assert goes_on()
    workers.unresponsive = True
    assert goes_on()
    assert goes_on()
    assert not goes_on()
    assert left == [75]


def test_a_worker_that_was_suspended_is_not_unresponsive(worker):
    goes_on, workers, _, _, left = worker
    assert goes_on()
    workers.unresponsive = True
    assert goes_on(600)
    workers.unresponsive = False
    assert all(goes_on() for _ in range(5))
    assert left == []


def test_a_worker_has_longer_to_start(worker):
    goes_on, workers, _, _, left = worker
    workers.unresponsive = True
    assert all(goes_on() for _ in range(20))
    assert not all(goes_on() for _ in range(10))
    assert left[0] == 75


def test_probes_from_before_an_outage_do_not_count(worker):
    goes_on, workers, _, _, left = worker
    assert goes_on()
    for _ in range(3):
        workers.unresponsive = True
        assert goes_on()
        assert goes_on()
        workers.away = True
        assert goes_on()
        workers.away = False
    assert left == []


def test_a_busy_worker_is_not_unresponsive(worker):
    goes_on, workers, celery, busy, left = worker
    busy[0] = True
    assert all(goes_on(60) for _ in range(5))
    assert workers.acknowledged == "celery@here"
    assert celery.sent == left == []


def test_while_the_queue_is_unavailable_no_worker_exits(worker):
    goes_on, workers, _, _, left = worker
    workers.away = True
    assert all(goes_on(60) for _ in range(5))
    assert left == []

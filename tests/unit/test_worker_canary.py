"""A worker that answers is left alone; one that is deaf ends."""

import pytest

from metseg.errors import QueueUnavailable
from metseg_worker.liveness import Canary


class Jobs:
    """What is known of canaries; the child may be deaf, the queue away."""

    deaf = away = False

    def answer(self, node):
        self.answered = node

    def answers(self, node):
        if self.away:
            raise QueueUnavailable("The queue does not answer.")
        return not self.deaf


class Celery:
    def __init__(self):
        self.sent = []

    def send_task(self, name, args, **options):
        self.sent.append((name, args, options["routing_key"]))


@pytest.fixture
def worker(monkeypatch):
    """A canary with a clock, its jobs, and what it left with."""
    now, left = [0.0], []
    monkeypatch.setattr("metseg_worker.liveness.time.monotonic", lambda: now[0])
    jobs, celery, busy = Jobs(), Celery(), [False]
    canary = Canary("celery@here", celery, jobs, lambda: busy[0], leave=left.append, deaf_s=90)

    def goes_on(seconds):
        now[0] += seconds
        return canary.once()

    return goes_on, jobs, celery, busy, left


def test_a_worker_that_answers_goes_on(worker):
    goes_on, _, celery, _, left = worker
    assert all(goes_on(60) for _ in range(5))
    assert celery.sent[0] == ("metseg.canary", ["celery@here"], "metseg.canary.celery@here")
    assert left == []


def test_a_deaf_worker_ends(worker):
    goes_on, jobs, _, _, left = worker
    assert goes_on(10)
    jobs.deaf = True
    assert goes_on(80)
    assert not goes_on(20)
    assert left == [75]


def test_a_worker_at_a_job_is_not_deaf(worker):
    goes_on, jobs, celery, busy, left = worker
    busy[0] = True
    assert all(goes_on(60) for _ in range(5))
    assert jobs.answered == "celery@here"
    assert celery.sent == left == []


def test_where_the_queue_is_away_nobody_is_deaf(worker):
    goes_on, jobs, _, _, left = worker
    jobs.away = True
    assert all(goes_on(60) for _ in range(5))
    assert left == []

"""The simulated queue agrees with queueing theory."""

import random

import pytest
from tests.bench.simulate import Study, arrivals, play


def test_studies_that_arrive_one_by_one_do_not_wait():
    assert play([Study(came, 0.25, 2, 0.5) for came in (0, 10, 20, 30)], workers=1).median_s == 2.75


def test_studies_that_arrive_together_wait_their_turn():
    three = [Study(0, 0, 1, 0)] * 3
    assert play(three, workers=1).median_s == 2
    assert play(three, workers=3).median_s == 1


def test_time_before_and_after_a_worker_occupies_no_worker():
    assert play([Study(0, 1, 2, 10), Study(0, 1, 2, 10), Study(0, 1, 2, 10)], workers=1).median_s == 1 + 2 + 2 + 10


def test_the_mean_wait_follows_pollaczek_and_khinchine():
    """Fixed service time and Poisson arrivals at 80%: a mean wait of 2 service times, a median of about 1.7."""
    times = arrivals(0.8, 200_000, random.Random(1))
    found = play([Study(came, 0, 1, 0) for came in times], workers=1)
    assert found.busy == pytest.approx(0.8, abs=0.01)
    assert 2.2 < found.median_s < 2.7

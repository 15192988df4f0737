"""The end of a job is written beside the next one's work, one at a time, and none is left behind."""

import threading
import time

import pytest

from metseg import logs
from metseg_worker.result_writer import Endings

LONG_S = 20


@pytest.fixture
def endings():
    return Endings()


def test_whoever_hands_an_end_over_goes_on_while_it_is_written(endings):
    going_on = threading.Event()
    written = []

    def end():
        written.append(going_on.wait(LONG_S))

    endings.hand_over(end)
    assert written == []
    going_on.set()
    assert endings.settle(LONG_S)
    assert written == [True]


def test_the_next_end_is_taken_once_the_one_before_is_written(endings):
    written = []

    def slow():
        time.sleep(0.1)
        written.append("slow")

    endings.hand_over(slow)
    endings.hand_over(lambda: written.append("quick"))
    assert written[0] == "slow"
    assert endings.settle(LONG_S)
    assert written == ["slow", "quick"]


def test_who_leaves_waits_for_the_last_end_but_not_for_ever(endings):
    released = threading.Event()
    endings.hand_over(lambda: released.wait(LONG_S))
    assert not endings.settle(0.05)
    released.set()
    assert endings.settle(LONG_S)


def test_there_is_nothing_to_wait_for_where_no_job_was_done(endings):
    assert endings.settle(LONG_S)


def test_what_is_logged_of_an_end_tells_the_request_of_its_own_job(endings):
    told, gone_on = [], threading.Event()

    def end():
        gone_on.wait(LONG_S)
        told.append(logs.current_request_id())

    with logs.job_context():
        logs.bind_request_id("first")
        endings.hand_over(end)
    with logs.job_context():
        logs.bind_request_id("second")
        gone_on.set()
        assert endings.settle(LONG_S)
    assert told == ["first"]

"""Ends of jobs are written in the background, one at a time, and none is lost."""

import signal
import threading
import time

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from metseg import logs
from metseg.errors import StoreUnavailable
from metseg_worker.result_writer import ResultWriter

LONG_S = 20


@pytest.fixture
def writer():
    return ResultWriter()


def test_whoever_hands_an_end_over_goes_on_while_it_is_written(writer):
    going_on = threading.Event()
    written = []

    def end():
        written.append(going_on.wait(LONG_S))

    writer.submit(end)
    assert written == []
    going_on.set()
    assert writer.flush(LONG_S)
    assert written == [True]


def test_the_next_end_is_taken_once_the_one_before_is_written(writer):
    written = []

    def slow():
        time.sleep(0.1)
        written.append("slow")

    writer.submit(slow)
    writer.submit(lambda: written.append("quick"))
    assert written[0] == "slow"
    assert writer.flush(LONG_S)
    assert written == ["slow", "quick"]


def test_who_leaves_waits_for_the_last_end_but_not_for_ever(writer):
    released = threading.Event()
    writer.submit(lambda: released.wait(LONG_S))
    assert not writer.flush(0.05)
    released.set()
    assert writer.flush(LONG_S)


def test_a_time_limit_that_is_over_while_the_end_before_is_written_costs_no_result():
    """The wait is on the main thread, where Celery raises its soft limit."""
    released, written = threading.Event(), []

    def limit(*_):
        released.set()
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, limit)
    writer = ResultWriter()
    try:
        writer.submit(lambda: written.append(released.wait(LONG_S)))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        writer.submit(lambda: written.append("end"))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert writer.flush(LONG_S)
    assert written == [True, "end"]


def test_an_error_of_an_end_is_not_the_next_jobs(writer):
    written = []

    def fail():
        raise ValueError("the job before")

    writer.submit(fail)
    writer.submit(lambda: written.append("end"))
    assert writer.flush(LONG_S)
    assert written == ["end"]


def test_a_store_that_writes_for_ever_is_called_unavailable():
    released, writer = threading.Event(), ResultWriter(max_wait_s=0.05)
    writer.submit(lambda: released.wait(LONG_S))
    with pytest.raises(StoreUnavailable):
        writer.submit(lambda: None)
    released.set()


def test_there_is_nothing_to_wait_for_where_no_job_was_done(writer):
    assert writer.flush(LONG_S)


def test_what_is_logged_of_an_end_has_the_request_of_its_own_job(writer):
    request_ids, gone_on = [], threading.Event()

    def end():
        gone_on.wait(LONG_S)
        request_ids.append(logs.current_request_id())

    with logs.job_context():
        logs.bind_request_id("first")
        writer.submit(end)
    with logs.job_context():
        logs.bind_request_id("second")
        gone_on.set()
        assert writer.flush(LONG_S)
    assert request_ids == ["first"]

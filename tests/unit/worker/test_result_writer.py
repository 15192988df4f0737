"""Job results are written in the background, one at a time, and none is lost."""

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


def test_the_caller_continues_while_its_result_is_written(writer):
    going_on = threading.Event()
    written = []

    def end():
        written.append(going_on.wait(LONG_S))

    writer.submit(end)
    assert written == []
    going_on.set()
    assert writer.flush(LONG_S)
    assert written == [True]


def test_the_next_result_is_accepted_once_the_last_is_written(writer):
    written = []

    def slow():
        time.sleep(0.1)
        written.append("slow")

    writer.submit(slow)
    writer.submit(lambda: written.append("quick"))
    assert written[0] == "slow"
    assert writer.flush(LONG_S)
    assert written == ["slow", "quick"]


def test_closing_waits_for_the_last_result_but_not_for_ever(writer):
    released = threading.Event()
    writer.submit(lambda: released.wait(LONG_S))
    assert not writer.flush(0.05)
    released.set()
    assert writer.flush(LONG_S)


def test_a_time_limit_during_the_wait_for_the_writer_costs_no_result():
    """The wait is on the main thread, where Celery raises its soft time limit."""
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


def test_a_write_error_does_not_reach_the_next_job(writer):
    written = []

    def fail():
        raise ValueError("the job before")

    writer.submit(fail)
    writer.submit(lambda: written.append("end"))
    assert writer.flush(LONG_S)
    assert written == ["end"]


def test_a_store_that_never_finishes_writing_is_unavailable():
    released, writer = threading.Event(), ResultWriter(max_wait_s=0.05)
    writer.submit(lambda: released.wait(LONG_S))
    with pytest.raises(StoreUnavailable):
        writer.submit(lambda: None)
    released.set()


def test_without_a_job_there_is_nothing_to_wait_for(writer):
    assert writer.flush(LONG_S)


def test_log_lines_of_a_write_have_their_jobs_request_id(writer):
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

"""Ends of jobs are written in the background, one at a time, and none is lost."""

import threading
import time

import pytest

from metseg import logs
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

"""A log line is JSON and carries its request's id while that request's job is processed."""

import io
import json
import logging

import pytest

from metseg import logs


@pytest.fixture
def lines(monkeypatch):
    """The log as it is printed."""
    written = io.StringIO()
    before = logging.root.handlers[:], logging.root.level
    monkeypatch.setattr("sys.stderr", written)
    logs.configure("DEBUG")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.root.handlers[:], level = before
    logging.root.setLevel(level)


def test_only_a_jobs_lines_carry_its_request_id(lines):
    log = logging.getLogger("metseg.test")
    log.info("before")
    with logs.job_context():
        log.info("not yet")
        logs.bind_request_id("request-1")
        log.info("begun", extra={"job": "a"})
        log.warning("by a library")
    log.info("after")
    with logs.job_context():
        log.info("the next job's")
    request_ids = {line["message"]: line.get("request_id") for line in lines()}
    assert request_ids == {
        "before": None,
        "not yet": None,
        "begun": "request-1",
        "by a library": "request-1",
        "after": None,
        "the next job's": None,
    }


def test_a_failed_jobs_request_id_is_cleared(lines):
    def fail():
        with logs.job_context():
            logs.bind_request_id("request-1")
            raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        fail()
    logging.getLogger("metseg.test").info("after")
    assert "request_id" not in lines()[-1]

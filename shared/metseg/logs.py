"""The log of gateway, worker and trainer: one JSON object per line, without names, pixels or exception texts.

While a job is processed, each line carries the id of the HTTP request that submitted it, as the gateway's lines do.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from logging.config import dictConfig
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS

__all__ = ["bind_request_id", "configuration", "configure", "current_request_id", "job_context"]

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def job_context() -> Iterator[None]:
    """The block in which one job is processed; `bind_request_id` has no effect beyond it."""
    token = _request_id.set(None)
    try:
        yield
    finally:
        _request_id.reset(token)


def bind_request_id(request_id: str | None) -> None:
    """Add the id to every line from here to the end of the job."""
    _request_id.set(request_id)


def current_request_id() -> str | None:
    """The id of the request that submitted the current job."""
    return _request_id.get()


class RequestIdFilter(logging.Filter):
    """Adds the request's id to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        request_id = current_request_id()
        if request_id is not None:
            record.request_id = request_id
        return True


def configuration(level: str | int = "INFO") -> dict[str, Any]:
    """The settings for `logging.config.dictConfig`: JSON lines on stderr from `level` up."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(levelname)s %(name)s %(process)d %(message)s",
                "rename_fields": {"levelname": "level", "name": "logger"},
                "timestamp": "time",
                "reserved_attrs": [*RESERVED_ATTRS, "data"],  # Celery's own copy of a task's message
            }
        },
        "filters": {"request_id": {"()": RequestIdFilter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request_id"]}},
        "loggers": {"urllib3": {"level": "ERROR"}},  # it warns of retries, whose outcome we log
        "root": {"handlers": ["stderr"], "level": level},
    }


def configure(level: str | int = "INFO") -> None:
    """Send everything that this process logs to stderr as JSON lines."""
    dictConfig(configuration(level))

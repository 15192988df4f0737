"""One JSON object a line: what happened, to which job. Never a name, a pixel or an exception's text.

While a job is worked on, its lines carry the id of the HTTP request that brought it, as the gateway's lines do.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from logging.config import dictConfig

from pythonjsonlogger.core import RESERVED_ATTRS

__all__ = ["configure", "follow", "followed", "one_job"]

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def one_job() -> Iterator[None]:
    """The block in which one job is worked on; what `follow` says ends with it."""
    token = _request_id.set(None)
    try:
        yield
    finally:
        _request_id.reset(token)


def follow(request_id: str | None) -> None:
    """Have the lines from here to the end of the job tell which request they are about."""
    _request_id.set(request_id)


def followed() -> str | None:
    """The request that the job at hand came with."""
    return _request_id.get()


class Following(logging.Filter):
    """Adds the request's id to what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass."""
        request_id = followed()
        if request_id is not None:
            record.request_id = request_id
        return True


def configure(level: str | int = "INFO") -> None:
    """Send everything that this process logs to stderr as JSON lines."""
    dictConfig(
        {
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
            "filters": {"following": {"()": Following}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["following"]}},
            "loggers": {"urllib3": {"level": "ERROR"}},  # we log what its retries come to
            "root": {"handlers": ["stderr"], "level": level},
        }
    )

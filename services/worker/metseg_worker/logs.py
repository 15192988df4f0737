"""One JSON object a line: what happened, to which job. Never a name, a pixel or an exception's text."""

from logging.config import dictConfig

from pythonjsonlogger.core import RESERVED_ATTRS

__all__ = ["configure"]


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
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "loggers": {"urllib3": {"level": "ERROR"}},  # we log what its retries come to
            "root": {"handlers": ["stderr"], "level": level},
        }
    )

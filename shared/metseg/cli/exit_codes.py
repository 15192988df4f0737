"""The command's exit codes."""

from enum import IntEnum
from http import HTTPStatus

from metseg.errors import MetsegError

__all__ = ["ExitCode", "UsageError"]

TRANSIENT_STATUSES = (429, 502, 503, 504)
"""Of a gateway, or a proxy in front of it, that is unavailable for a while."""


class ExitCode(IntEnum):
    """The exit codes that docs/client.md lists."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    INTERRUPTED = 130

    @classmethod
    def of(cls, error: MetsegError) -> "ExitCode":
        """The exit code for an error that ended the command."""
        if isinstance(error, UsageError):
            return cls.USAGE
        if error.status in TRANSIENT_STATUSES:
            return cls.UNREACHABLE
        return cls.REFUSED if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else cls.FAILED

    @property
    def is_fatal(self) -> bool:
        """Whether all further studies would fail for the same reason."""
        return self in (ExitCode.UNREACHABLE, ExitCode.REFUSED, ExitCode.USAGE)


class UsageError(MetsegError):
    """The command line is contradictory or names something that does not exist."""

    type, title, status = "/problems/usage", "The command line is not valid", 400

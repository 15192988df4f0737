"""What the command's exit status says."""

from enum import IntEnum
from http import HTTPStatus

from metseg.errors import MetsegError

__all__ = ["Exit", "Usage"]


PASSING = (429, 502, 503, 504)
"""What a gateway, or a proxy before it, answers for a while."""


class Exit(IntEnum):
    """The statuses, as docs/client.md lists them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    INTERRUPTED = 130

    @classmethod
    def of(cls, error: MetsegError) -> "Exit":
        """The status that tells of an error that ended the command."""
        if isinstance(error, Usage):
            return cls.USAGE
        if error.status in PASSING:
            return cls.UNREACHABLE
        return cls.REFUSED if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else cls.FAILED

    @property
    def ends_all(self) -> bool:
        """Whether every further study would meet the same."""
        return self in (Exit.UNREACHABLE, Exit.REFUSED, Exit.USAGE)


class Usage(MetsegError):
    """The command line asks for what cannot be."""

    type, title, status = "/problems/usage", "The command line is not valid", 400

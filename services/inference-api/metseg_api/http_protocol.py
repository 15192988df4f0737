"""HTTP/1.1 with deadlines: no client holds a connection, or what is sent to it, for as long as it likes.

uvicorn waits for as long as a client takes to send a request or to read a response. Here a request's headers have a
deadline, a client that stops reading is disconnected, and of too many connections the one that has been idle for the
longest time is closed, so that others are served.
"""

import asyncio
import resource
import time
from collections.abc import Callable
from typing import Any

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["GatewayProtocol"]

HEADERS_S = 20.0
"""For a request's headers, from the connection or their first byte."""
SEND_S = 30.0
"""For a client to read what is in the send buffer, a chunk of a file and 64 KiB at most."""
MAX_CONNECTIONS = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
"""Of one process. The other half of its descriptors is for files, the store and Redis."""


class _Deadline:
    """Calls `end` unless it is cancelled in time.

    Args:
        loop: of the process.
        end: what to call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
        self._loop, self._end = loop, end
        self._timer: asyncio.TimerHandle | None = None

    def start(self, after_s: float) -> None:
        """Start it, unless it runs already."""
        if self._timer is None:
            self._timer = self._loop.call_later(after_s, self._end)

    def cancel(self) -> None:
        """Stop it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class GatewayProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (uvicorn's)
        super().__init__(*args, **kwargs)
        self._idle_since = time.monotonic()
        self._headers, self._sending = _Deadline(self.loop, self._abort), _Deadline(self.loop, self._abort)

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; close a connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._longest_idle()._abort()
        self._headers.start(HEADERS_S)

    def _longest_idle(self) -> "GatewayProtocol":
        """Of all connections; this one if every other is serving a request."""
        others = [each for each in self.connections if isinstance(each, GatewayProtocol) and each is not self]
        idle = [each for each in others if getattr(each.cycle, "response_complete", True)]
        return min(idle, key=lambda each: each._idle_since, default=self)

    @override
    def data_received(self, data: bytes) -> None:
        """Start the deadline of headers with their first byte, and end it with their last."""
        super().data_received(data)
        if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
            self._headers.start(HEADERS_S)
        else:
            self._headers.cancel()

    @override
    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read the last response."""
        super().on_response_complete()
        self._idle_since = time.monotonic()
        self._abort_unless_closed()

    @override
    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that stays idle."""
        super().timeout_keep_alive_handler()
        self._abort_unless_closed()

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        super().send_400_response(msg)
        self._abort_unless_closed()

    def _abort_unless_closed(self) -> None:
        """A connection closes once all is sent: wait no longer than a client may take to read it."""
        if self.transport.is_closing():
            self._sending.start(SEND_S)

    @override
    def pause_writing(self) -> None:
        """The send buffer is full."""
        super().pause_writing()
        self._sending.start(SEND_S)

    @override
    def resume_writing(self) -> None:
        """The send buffer is nearly empty."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._sending.cancel()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        super().connection_lost(exc)
        self._headers.cancel()
        self._sending.cancel()

    def _abort(self) -> None:
        """End the connection at once, whatever has not been sent."""
        if self in self.connections:
            self.transport.abort()

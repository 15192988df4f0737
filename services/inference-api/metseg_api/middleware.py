"""What every request passes first and every answer last: its id, its size, its headers, its line in the log."""

import logging
import re
import time
import uuid
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metseg.contracts import is_job_id
from metseg.errors import UploadTooLarge
from metseg_api import metrics, problems

PLAIN_BODY_BYTES = 64 * 1024
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}

log = logging.getLogger("metseg.access")


class Edge:
    """The outermost layer: nothing leaves the gateway without passing here.

    Args:
        app: all the rest.
        upload_bytes: what the body of a submission may weigh; any other body may weigh 64 KiB.
    """

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self._app = app
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload_bytes if (scope["method"], scope["path"]) == ("POST", "/v1/jobs") else PLAIN_BODY_BYTES
        exchange = _Exchange(scope, receive, send, limit)
        try:
            await exchange.serve(self._app)
        finally:
            exchange.record()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope, self._receive, self._send, self._limit = scope, receive, send, limit
        self._began = time.perf_counter()
        self._status = 0
        self._received = self._sent = 0
        self._headers = Headers(scope=scope)
        self._unread = not {"content-length", "transfer-encoding"}.isdisjoint(self._headers)
        self._id = self._request_id()
        scope.setdefault("state", {})["request_id"] = self._id

    async def serve(self, app: ASGIApp) -> None:
        """Have the request answered, whatever happens."""
        if self._beyond():
            await problems.respond(UploadTooLarge(self._refusal()), self._scope)(self._scope, self._receive, self.send)
            return
        try:
            await app(self._scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 -- the last place where a failure can become an answer
            problems.log_failure(error, self._id)
            if self._status:  # an answer cut short is told by closing the connection
                raise ConnectionAbortedError("the answer was cut short") from None
            await problems.failure(self._scope)(self._scope, self._receive, self.send)

    async def receive(self) -> Message:
        """Count the body; what is beyond the limit is refused, however it was announced."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._unread = self._unread and message.get("more_body", False)
        if self._beyond():
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._refusal())
        return message

    async def send(self, message: Message) -> None:
        """Add the headers that every answer has, and count."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._unread:  # else the server would read on to the body's end, which may never come
                headers["Connection"] = "close"
        self._sent += len(message.get("body", b""))
        await self._send(message)

    def record(self) -> None:
        """Count the exchange by its route, and log who did what with which job; what the job holds stays out."""
        duration_s = time.perf_counter() - self._began
        route = getattr(self._scope.get("route"), "path", "unmatched")
        method = self._scope["method"] if self._scope["method"] in METHODS else "other"
        metrics.REQUESTS.labels(method, route, str(self._status)).inc()
        metrics.DURATIONS.labels(method, route).observe(duration_s)
        metrics.RECEIVED.inc(self._received)
        figures = {"status": self._status, "duration_s": round(duration_s, 4)}
        sizes = {"received_bytes": self._received, "sent_bytes": self._sent}
        state, path = self._scope["state"], self._scope.get("path_params", {})
        job = state.get("job", path.get("job_id", ""))  # what is no id may be anything, a patient's number too
        who = {"key": state.get("key"), "job": job if is_job_id(job) else None}
        log.info("request", extra={"request_id": self._id, "method": method, "route": route, **who, **figures, **sizes})

    def _request_id(self) -> str:
        given = self._headers.get("X-Request-ID", "")
        return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex

    def _beyond(self) -> bool:
        announced = self._headers.get("Content-Length", "")
        size = int(announced) if re.fullmatch(r"\d{1,19}", announced) else 0
        return max(size, self._received) > self._limit

    def _refusal(self) -> str:
        return f"The body of this request may have {self._limit} bytes at most."

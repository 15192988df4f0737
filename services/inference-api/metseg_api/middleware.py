"""The outermost middleware: request IDs, body limits, security headers, metrics and the access log."""

import logging
import math
import re
import time
import uuid
from http import HTTPStatus

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metseg.contracts import is_job_id
from metseg.errors import ForeignRequest, MetsegError, UploadTooLarge
from metseg.request_origin import is_foreign_request, is_known_host
from metseg.settings import MIB, Settings
from metseg_api import metrics, problems

MAX_PLAIN_BODY_BYTES = 64 * 1024
MAX_PLAIN_BODY_S = 20.0
"""For a whole body that is no submission; FastAPI reads it before it looks at the API key."""
MAX_REVIEW_BODY_BYTES, MAX_REVIEW_BODY_S = 8 * MIB, 60.0
"""For a review, which the route reads after it has checked the API key."""
REVIEW_PATH = re.compile(r"/v1/jobs/[0-9a-f]{32}/review")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
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


class GatewayMiddleware:
    """The outermost layer of the application, which every request and response passes.

    Args:
        app: the rest of the application.
        settings: with the limit of a submission's body (a review may have 8 MiB, others 64 KiB), and the site's names.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as in ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cycle = _RequestCycle(scope, receive, send, self._body_limits(scope), self._refusal(scope))
        try:
            await cycle.run(self._app)
        finally:
            cycle.record()

    def _body_limits(self, scope: Scope) -> tuple[float, float]:
        """The bytes that a request's body may have, and the seconds in which it has to arrive."""
        if (scope["method"], scope["path"]) == ("POST", "/v1/jobs"):
            return self._settings.limits.upload_bytes, math.inf
        if scope["method"] == "PUT" and REVIEW_PATH.fullmatch(scope["path"]):
            return MAX_REVIEW_BODY_BYTES, MAX_REVIEW_BODY_S
        return MAX_PLAIN_BODY_BYTES, MAX_PLAIN_BODY_S

    def _refusal(self, scope: Scope) -> MetsegError | None:
        """Why a request is refused by its headers; None if it is not.

        A key is no cookie, so with keys a page under a foreign name can do nothing.
        """
        headers, names = Headers(scope=scope), self._settings.host_names
        if self._settings.api_keys_file is None and not is_known_host(headers.get("host", ""), names):
            return ForeignRequest("The header Host is not a name of this site; METSEG_HOSTS lists its names.")
        if scope["method"] not in SAFE_METHODS and is_foreign_request(headers, names):
            return ForeignRequest("A page of another site may not change anything here.")
        return None


class _RequestCycle:
    """One request and its response."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limits: tuple[float, float],
        refusal: MetsegError | None,
    ) -> None:
        self._refusal = refusal
        self._method = scope["method"]
        self._scope = {**scope, "method": "GET"} if self._method == "HEAD" else scope
        self._receive, self._send = receive, send
        self._max_body_bytes, self._max_body_s = limits
        self._started = time.perf_counter()
        self._status = 0
        self._received_bytes = self._sent_bytes = 0
        self._headers = Headers(scope=scope)
        self._body_pending = not {"content-length", "transfer-encoding"}.isdisjoint(self._headers)
        self._request_id = self._choose_request_id()
        self._scope.setdefault("state", {})["request_id"] = self._request_id

    async def run(self, app: ASGIApp) -> None:
        """Respond, whatever happens."""
        refusal = UploadTooLarge(self._too_large_detail()) if self._is_too_large() else self._refusal
        if refusal is not None:
            response = problems.problem_response(refusal, self._scope)
            await response(self._scope, self._receive, self.send)
            return
        try:
            await app(self._scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 -- the last place where a failure can become a response
            problems.log_exception(error, self._request_id)
            if self._status:  # only closing the connection shows the client that a response is incomplete
                raise ConnectionAbortedError("the response was cut short") from None
            await problems.internal_error_response(self._scope)(self._scope, self._receive, self.send)

    async def receive(self) -> Message:
        """Count the bytes of the body; one beyond the limit is refused, whatever Content-Length says."""
        message = await self._receive_in_time()
        self._received_bytes += len(message.get("body", b""))
        self._body_pending = self._body_pending and message.get("more_body", False)
        if self._is_too_large():
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large_detail())
        return message

    async def _receive_in_time(self) -> Message:
        if not self._body_pending or self._status:
            return await self._receive()
        try:
            with anyio.fail_after(self._started + self._max_body_s - time.perf_counter()):
                return await self._receive()
        except TimeoutError:
            detail = f"The body did not arrive within {self._max_body_s:g} seconds"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail) from None

    async def send(self, message: Message) -> None:
        """Add the headers that every response has, and count the bytes of the body, of which HEAD gets none."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._body_pending:  # otherwise the server would read the rest of the body, which may never come
                headers["Connection"] = "close"
        if self._method == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        self._sent_bytes += len(message.get("body", b""))
        await self._send(message)

    def record(self) -> None:
        """Count the request by route, and log which key did what with which job, but nothing of the job's content."""
        duration_s = time.perf_counter() - self._started
        route = getattr(self._scope.get("route"), "path", "unmatched")
        method = self._method if self._method in METHODS else "other"
        metrics.REQUESTS.labels(method, route, str(self._status)).inc()
        metrics.DURATIONS.labels(method, route).observe(duration_s)
        metrics.RECEIVED_BYTES.inc(self._received_bytes)
        state, path_params = self._scope["state"], self._scope.get("path_params", {})
        job_id = state.get("job", path_params.get("job_id", ""))  # anything but an ID may be a patient's number
        fields = {
            "request_id": self._request_id,
            "method": method,
            "route": route,
            "key": state.get("key"),
            "client": (self._scope.get("client") or [None])[0],
            "job": job_id if is_job_id(job_id) else None,
            "status": self._status,
            "duration_s": round(duration_s, 4),
            "received_bytes": self._received_bytes,
            "sent_bytes": self._sent_bytes,
        }
        log.info("request", extra=fields)

    def _choose_request_id(self) -> str:
        """The client's, if it sent a well-formed one; otherwise a new one."""
        client_id = self._headers.get("X-Request-ID", "")
        return client_id if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", client_id) else uuid.uuid4().hex

    def _is_too_large(self) -> bool:
        header = self._headers.get("Content-Length", "")
        content_length = int(header) if re.fullmatch(r"\d{1,19}", header) else 0
        return max(content_length, self._received_bytes) > self._max_body_bytes

    def _too_large_detail(self) -> str:
        return f"The body of this request may have {self._max_body_bytes} bytes at most."

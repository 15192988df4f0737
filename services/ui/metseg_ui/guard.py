"""What is refused before Streamlit sees it, and the headers of every response.

Streamlit keeps uploads in memory, whoever sends them. Here they must belong to a session that the gateway accepted, and
fit into what a session and the whole process may hold.
"""

import re
from collections import Counter
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metseg.request_origin import is_foreign_origin, is_foreign_request, is_known_host
from metseg.settings import MIB, Settings, settings
from metseg_ui.state import sessions

__all__ = ["PROCESS_SHARE", "PageGuard"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+$")
PROCESS_SHARE = 2
"""How many sessions' worth of uploads the process holds: 1 GiB of the container's 2 GiB by default."""
FRAMING_BYTES = 64 * 1024  # of a multipart body
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'self'"
    ),
}
"""Streamlit's own scripts need inline code and eval; nothing may be loaded from elsewhere, or sent there."""


class PageGuard:
    """Middleware around the whole page.

    Args:
        app: the rest of the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._uploading: Counter[str] = Counter()  # announced bytes by session; used by the event loop alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as in ASGI."""
        if scope["type"] == "websocket":
            headers = Headers(scope=scope)
            names = settings().host_names
            if not is_known_host(headers.get("host", ""), names) or is_foreign_origin(headers, names):
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._serve(scope, receive, _with_headers(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, names = Headers(scope=scope), settings().host_names
        if not is_known_host(headers.get("host", ""), names):
            await _refuse(403, "This is not a name of the site; METSEG_HOSTS lists its names.", scope, receive, send)
        elif scope["method"] not in SAFE_METHODS and is_foreign_request(headers, names):
            await _refuse(403, "A page of another site may not change anything here.", scope, receive, send)
        elif scope["method"] not in SAFE_METHODS and (upload := UPLOAD.search(scope["path"])):
            await self._upload(upload[1], scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _upload(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        if not sessions.is_accepted(session):
            await _refuse(403, "Sign in before you choose files.", scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0" if scope["method"] == "DELETE" else "")
        if not length.isdecimal():
            await _refuse(411, "An upload must announce its length.", scope, receive, send)
            return
        if refusal := self._quota_refusal(session, int(length), settings()):
            await _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, refusal, scope, receive, send)
            return
        self._uploading[session] += int(length)
        try:
            await self._app(scope, receive, send)
        finally:
            self._uploading[session] -= int(length)
            self._uploading += Counter()  # drops zeros

    def _quota_refusal(self, session: str, length: int, limits: Settings) -> str:
        """Why an upload does not fit; empty if it does."""
        most = limits.limits.upload_bytes + FRAMING_BYTES
        stored = sessions.uploaded_bytes()
        if stored.get(session, 0) + self._uploading[session] + length > most:
            return f"The chosen files may have {most // MIB} MiB together; submit or remove some first."
        if sum(stored.values()) + self._uploading.total() + length > PROCESS_SHARE * most:
            return "Other readers are uploading; try again in a minute."
        return ""


def _with_headers(send: Send) -> Send:
    """A `send` that adds the security headers that a response does not have."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


async def _refuse(status: int, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without reading the body; the connection is closed, or the server would read the rest of it."""
    await PlainTextResponse(detail, status, {"Connection": "close"})(scope, receive, send)

"""What is refused before Streamlit sees it, and the headers of every response.

Streamlit would keep uploads in memory, whoever sends them. The page has its own uploader, so they are refused.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metseg.request_origin import is_foreign_origin, is_foreign_request, is_known_host
from metseg.settings import settings

__all__ = ["PageGuard"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
STREAMLIT_UPLOAD = "/_stcore/upload_file/"
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
        elif STREAMLIT_UPLOAD in scope["path"]:
            await _refuse(404, "Files are sent to the gateway, not to Streamlit.", scope, receive, send)
        else:
            await self._app(scope, receive, send)


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

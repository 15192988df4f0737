"""What the browser fetches outside Streamlit's connection: the viewer's files, and volumes and reports of the gateway.

Volumes are streamed through in chunks, so that no study is ever whole in the page's memory.
"""

import hashlib
import mimetypes
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from itertools import chain
from pathlib import Path
from typing import get_args

import streamlit as st
from anyio import CancelScope, to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from metseg.client import RemoteProblem, VolumeLayer
from metseg.contracts import is_job_id, is_model_version
from metseg_ui.state import sessions

ASSETS = Path(__file__).parent / "components" / "assets"
LAYERS = frozenset(get_args(VolumeLayer))
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
SANDBOX = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'self'"
    )
}


class ProxyResponse(StreamingResponse):
    """Streams what the gateway sends; the connection is released however the response ends."""

    def __init__(self, chunks: Iterator[bytes], stack: ExitStack, headers: dict[str, str]) -> None:
        self._stack = stack
        super().__init__(chunks, headers=headers, media_type="application/gzip")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as ASGI specifies."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._stack.close)


@cache
def assets_version() -> str:
    """A digest of the viewer's files; part of their URLs, so that browsers may cache them forever."""
    digest = hashlib.sha256()
    for path in sorted(ASSETS.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def asset(request: Request) -> Response:
    """A file of the viewer."""
    path = ASSETS / request.path_params["name"]
    if path.parent != ASSETS or not path.is_file() or request.path_params["version"] != assets_version():
        return _not_found()
    return FileResponse(path, media_type=mimetypes.guess_type(path.name)[0] or "text/plain", headers=IMMUTABLE)


def volume(request: Request) -> Response:
    """A layer of a job, read with the session's key."""
    client, layer = sessions.client_for(request.path_params["token"]), request.path_params["layer"]
    if client is None or layer not in LAYERS or not is_job_id(request.path_params["job"]):
        return _not_found()
    stack = ExitStack()
    try:
        etag, chunks = stack.enter_context(
            client.volume_chunks(
                request.path_params["job"],
                layer,
                request.headers.get("If-None-Match"),
                reviewed=request.query_params.get("reviewed") != "false",
            )
        )
        first = next(chunks, None)
    except RemoteProblem as problem:
        stack.close()
        return _refusal(problem)
    headers = PRIVATE | {"ETag": etag}
    if first is None:
        stack.close()
        return Response(status_code=304, headers=headers)
    return ProxyResponse(chain([first], chunks), stack, headers)


def overlay(request: Request) -> Response:
    """A slice of a job with its lesions outlined."""
    client = sessions.client_for(request.path_params["token"])
    if client is None or not is_job_id(request.path_params["job"]):
        return _not_found()
    try:
        png = client.overlay(request.path_params["job"], request.path_params["index"])
    except RemoteProblem as problem:
        return _refusal(problem)
    return Response(png, headers=PRIVATE, media_type="image/png")


def report(request: Request) -> Response:
    """The report of a model version, sandboxed: whatever it contains, it can run no script and load nothing."""
    client = sessions.client_for(request.path_params["token"])
    if client is None or not is_model_version(request.path_params["version"]):
        return _not_found()
    try:
        html = client.model_report(request.path_params["version"])
    except RemoteProblem as problem:
        return _refusal(problem)
    return Response(html, headers=PRIVATE | SANDBOX, media_type="text/html")


def report_url(token: str, version: str) -> str:
    """The path of a model's report.

    Args:
        token: of the session.
        version: of the model.

    Returns:
        An absolute path on the page's host.
    """
    return f"{_base_path()}/reports/{token}/{version}"


def _base_path() -> str:
    """The path below which the page is served, as Streamlit's `server.baseUrlPath` sets it."""
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def _refusal(problem: RemoteProblem) -> Response:
    return Response(problem.detail, problem.status, PRIVATE, "text/plain")


def _not_found() -> Response:
    return Response("Not found, or the page's session has ended; reload the page.", 404, PRIVATE)


ROUTES = (
    Route("/assets/{version}/{name}", asset),
    Route("/volumes/{token}/{job}/{layer}", volume),
    Route("/reports/{token}/{version}", report),
    Route("/overlays/{token}/{job}/{index:int}", overlay),
)

"""What a browser fetches from the page beside the page itself: the viewer's files, and volumes of jobs.

Volumes come from the gateway and pass through in chunks, so that no study is ever whole in the page's memory.
"""

import hashlib
import mimetypes
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import get_args

import streamlit as st
from anyio import CancelScope, to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from metseg.client import RemoteProblem, VolumeLayer
from metseg_ui.state import sessions

ASSETS = Path(__file__).parent / "components" / "assets"
LAYERS = frozenset(get_args(VolumeLayer))
FOREVER = "public, max-age=31536000, immutable"
NOTHING_BUT_ITSELF = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


class Passed(StreamingResponse):
    """Streams what the gateway sends; its connection is given back however the answer ends."""

    def __init__(self, chunks: Iterator[bytes], stack: ExitStack, headers: dict[str, str]) -> None:
        self._stack = stack
        super().__init__(chunks, headers=headers, media_type="application/gzip")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it, as ASGI has it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._stack.close)


@cache
def edition() -> str:
    """What tells one state of the viewer's files from another, so that browsers may keep them for good."""
    digest = hashlib.sha256()
    for path in sorted(ASSETS.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def asset(request: Request) -> Response:
    """A file of the viewer."""
    path = ASSETS / request.path_params["name"]
    if path.parent != ASSETS or not path.is_file() or request.path_params["edition"] != edition():
        return _gone()
    kind = mimetypes.guess_type(path.name)[0] or "text/plain"
    return FileResponse(path, media_type=kind, headers={"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff"})


def volume(request: Request) -> Response:
    """A layer of a job, as the visit's key may read it."""
    client, layer = sessions.client(request.path_params["ticket"]), request.path_params["layer"]
    if client is None or layer not in LAYERS:
        return _gone()
    stack = ExitStack()
    try:
        etag, chunks = stack.enter_context(
            client.volume_chunks(request.path_params["job"], layer, request.headers.get("If-None-Match"))
        )
        first = next(chunks, None)
    except RemoteProblem as problem:
        stack.close()
        return Response(problem.detail, problem.status, PRIVATE, "text/plain")
    if first is None:
        stack.close()
        return Response(status_code=304, headers=PRIVATE | {"ETag": etag})
    return Passed(_with(first, chunks), stack, PRIVATE | {"ETag": etag})


def picture(request: Request) -> Response:
    """A slice of a job with its lesions outlined, or as it came where it is not segmented yet."""
    client = sessions.client(request.path_params["ticket"])
    if client is None:
        return _gone()
    job, index = request.path_params["job"], request.path_params["index"]
    try:
        found = client.overlay(job, index)
    except RemoteProblem as problem:
        return Response(problem.detail, problem.status, PRIVATE, "text/plain")
    return Response(found, headers=PRIVATE, media_type="image/png")


def report(request: Request) -> Response:
    """The report of a model version, which can run nothing and reach nothing, whatever it holds."""
    client = sessions.client(request.path_params["ticket"])
    if client is None:
        return _gone()
    try:
        found = client.model_report(request.path_params["version"])
    except RemoteProblem as problem:
        return Response(problem.detail, problem.status, PRIVATE, "text/plain")
    return Response(found, headers=PRIVATE | {"Content-Security-Policy": NOTHING_BUT_ITSELF}, media_type="text/html")


def base() -> str:
    """What stands before each of the page's paths, where it is served below another address."""
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def report_address(ticket: str, version: str) -> str:
    """Where the browser finds a report, seen from the page."""
    return f"{base()}/reports/{ticket}/{version}"


def _with(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _gone() -> Response:
    return Response("This is not there, or the visit to the page has ended; load the page anew.", 404, PRIVATE)


ROUTES = (
    Route("/assets/{edition}/{name}", asset),
    Route("/volumes/{ticket}/{job}/{layer}", volume),
    Route("/reports/{ticket}/{version}", report),
    Route("/pictures/{ticket}/{job}/{index:int}", picture),
)

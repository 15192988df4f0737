"""What the browser fetches and sends outside Streamlit's connection: the page's scripts, and studies.

Submissions, volumes and downloads are streamed through in chunks, so that no study is ever whole in the page's memory.
"""

import hashlib
import mimetypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache, partial
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import get_args
from urllib.parse import urlencode

import streamlit as st
from anyio import CancelScope, CapacityLimiter, fail_after, from_thread, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from metseg.client import Client, RemoteProblem, VolumeLayer
from metseg.contracts import FollowUp, Job, is_job_id, is_model_version
from metseg.errors import InvalidParameter
from metseg.results.exports import EXPORTS, Export, find_export
from metseg_ui.state import sessions

ASSETS = Path(__file__).parent / "components" / "assets"
WAIT_S = 20.0
MAX_WAITS = 64
"""Browsers that wait at the same time, each for one job in one thread; more wait for their turn, and the page polls."""
MAX_UPLOADS = 64
"""Browsers whose submissions are handed on at the same time, each in one thread; more wait for their turn."""
IDLE_S = 30.0
"""After which a browser that sends nothing is given up."""
LAYERS = frozenset(get_args(VolumeLayer))
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
SANDBOX = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'self'"
    )
}


REPORT, STRUCTURED_REPORT = "report", "structured-report"
FOLLOW_UP_FILES = {
    REPORT: ("follow-up.html", "text/html"),
    STRUCTURED_REPORT: ("follow-up.dcm", "application/dicom"),
}
"""What is downloaded of a follow-up: file name and media type."""


class ProxyResponse(StreamingResponse):
    """Streams what the gateway sends; the connection is released however the response ends."""

    def __init__(
        self, chunks: Iterator[bytes], stack: ExitStack, headers: dict[str, str], media_type: str = "application/gzip"
    ) -> None:
        self._stack = stack
        super().__init__(chunks, headers=headers, media_type=media_type)

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


class Submission:
    """The body of a browser's submission, which a thread reads while the event loop receives it.

    Args:
        request: of the browser.
    """

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()

    def chunks(self) -> Iterator[bytes]:
        """The body in chunks, for a thread of anyio.

        Raises:
            ClientDisconnect: the browser has gone.
            TimeoutError: nothing came for `IDLE_S`.
        """
        while (chunk := from_thread.run(self._receive)) is not None:
            yield chunk

    async def drain(self) -> None:
        """Receive the rest, or a browser that still sends would not see the answer."""
        with suppress(ClientDisconnect, TimeoutError):
            while await self._receive() is not None:
                pass

    async def _receive(self) -> bytes | None:
        with fail_after(IDLE_S):
            return await anext(self._stream, None)


async def submission(request: Request) -> Response:
    """Hand a study to the gateway with the session's key; the browser gets the gateway's answer."""
    client, headers = sessions.upload_client_for(request.path_params["token"]), request.headers
    size = headers.get("content-length", "")
    if client is None:
        return _not_found()
    if not size.isdecimal():
        return Response("A submission must announce its length.", HTTPStatus.LENGTH_REQUIRED, PRIVATE)
    body = Submission(request)
    key, content_type = headers.get("idempotency-key", ""), headers.get("content-type", "")
    forward = partial(client.forward, body.chunks(), content_type, int(size), key)
    try:
        job = await to_thread.run_sync(forward, limiter=_threads(MAX_UPLOADS))
    except RemoteProblem as problem:
        await body.drain()
        return _problem(problem)
    except (ClientDisconnect, TimeoutError):
        return Response("The upload was interrupted.", HTTPStatus.REQUEST_TIMEOUT, PRIVATE)
    return Response(job.model_dump_json(), HTTPStatus.ACCEPTED, PRIVATE, "application/json")


def _problem(problem: RemoteProblem) -> Response:
    """A problem as the gateway would send it."""
    after = {} if problem.retry_after_s is None else {"Retry-After": f"{problem.retry_after_s:.0f}"}
    body = problem.problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, PRIVATE | after, "application/problem+json")


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


def export(request: Request) -> Response:
    """A file that people download of a job."""
    client, job_id = sessions.client_for(request.path_params["token"]), request.path_params["job"]
    chosen = _chosen_export(request)
    if client is None or chosen is None or not is_job_id(job_id):
        return _not_found()
    stack = ExitStack()
    try:
        chunks = stack.enter_context(client.export_chunks(job_id, chosen))
    except RemoteProblem as problem:
        stack.close()
        return _refusal(problem)
    return ProxyResponse(chunks, stack, _saved_as(job_id, chosen.file_name), chosen.media_type)


def _chosen_export(request: Request) -> Export | None:
    """The export that a request names, with its margin; None if there is none."""
    chosen = EXPORTS.get(request.path_params["name"])
    try:
        margin_mm = float(request.query_params.get("margin_mm", 0))
        return find_export(chosen.kind, chosen.format, margin_mm=margin_mm) if chosen and margin_mm else chosen
    except (InvalidParameter, ValueError):
        return None


def export_url(token: str, job_id: str, export: Export) -> str:
    """The path of a file that people download.

    Args:
        token: of the session.
        job_id: of a job that succeeded.
        export: which file.

    Returns:
        An absolute path on the page's host.
    """
    query = f"?{urlencode({'margin_mm': f'{export.margin_mm:g}'})}" if export.margin_mm else ""
    return f"{_base_path()}/exports/{token}/{job_id}/{export.name}{query}"


def follow_up_file(request: Request) -> Response:
    """A file that people download of a follow-up."""
    client, follow_up_id = sessions.client_for(request.path_params["token"]), request.path_params["follow_up"]
    name = request.path_params["name"]
    if client is None or name not in FOLLOW_UP_FILES or not is_job_id(follow_up_id):
        return _not_found()
    file_name, media_type = FOLLOW_UP_FILES[name]
    try:
        content = client.follow_up_report(follow_up_id) if name == REPORT else client.follow_up_sr(follow_up_id)
    except RemoteProblem as problem:
        return _refusal(problem)
    return Response(content, headers=_saved_as(follow_up_id, file_name), media_type=media_type)


def follow_up_url(token: str, follow_up_id: str, name: str) -> str:
    """The path of a file of a follow-up.

    Args:
        token: of the session.
        follow_up_id: of a follow-up that has succeeded.
        name: `REPORT` or `STRUCTURED_REPORT`.

    Returns:
        An absolute path on the page's host.
    """
    return f"{_base_path()}/follow-ups/{token}/{follow_up_id}/{name}"


def _saved_as(id: str, file_name: str) -> dict[str, str]:
    """Headers with which a browser saves a file of a job or follow-up, whatever it is."""
    return PRIVATE | {"Content-Disposition": f'attachment; filename="metseg-{id[-6:]}-{file_name}"'}


async def wait(request: Request) -> Response:
    """The state of a job, once it has ended or after some seconds."""
    return await _wait(request, request.path_params["job"], Client.job)


async def wait_for_follow_up(request: Request) -> Response:
    """The state of a follow-up, once it has ended or after some seconds."""
    return await _wait(request, request.path_params["follow_up"], Client.follow_up)


async def _wait(request: Request, id: str, read: Callable[[Client, str, float], Job | FollowUp]) -> Response:
    client = sessions.client_for(request.path_params["token"])
    if client is None or not is_job_id(id):
        return _not_found()
    try:
        found = await to_thread.run_sync(partial(read, client, id, WAIT_S), limiter=_threads(MAX_WAITS))
    except RemoteProblem as problem:
        return _refusal(problem)
    return JSONResponse({"status": found.status, "final": found.status.final}, headers=PRIVATE)


@cache
def _threads(most: int) -> CapacityLimiter:
    """The threads of one kind of request."""
    return CapacityLimiter(most)


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
    Route("/submissions/{token}", submission, methods=["POST"]),
    Route("/assets/{version}/{name}", asset),
    Route("/volumes/{token}/{job}/{layer}", volume),
    Route("/exports/{token}/{job}/{name}", export),
    Route("/follow-ups/{token}/{follow_up}/{name}", follow_up_file),
    Route("/waits/{token}/{job}", wait),
    Route("/waits/{token}/follow-ups/{follow_up}", wait_for_follow_up),
    Route("/reports/{token}/{version}", report),
    Route("/overlays/{token}/{job}/{index:int}", overlay),
)

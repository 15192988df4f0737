"""Every refusal and failure as `application/problem+json` (RFC 9457)."""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from metseg.contracts import Problem
from metseg.errors import InvalidParameter, MetsegError, NotFound, Unauthorised, UploadTooLarge

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger("metseg.api")


def respond(error: MetsegError, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells of `error`, with the request's id as its instance."""
    asks = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorised) else {}
    problem = Problem.of(error, instance(scope))
    return _respond(problem, {**(headers or {}), **asks}, retry_after_s=error.retry_after_s)


def failure(scope: Scope) -> Response:
    """The answer to an error that nobody foresaw: it tells nothing but the id under which the log tells more."""
    detail = "The gateway failed; its log tells more under this request's id."
    return _respond(_plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", detail, scope))


def instance(scope: Scope) -> str:
    """This one request, as a URI."""
    return f"urn:metseg:request:{scope['state']['request_id']}"


def log_failure(error: BaseException, request_id: str) -> None:
    """Log where an error came from; its words stay out, since they may quote what a client sent."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("unexpected error", extra={"request_id": request_id, "error": type(error).__name__, "frames": frames})


def install(app: FastAPI) -> None:
    """Make every error of the routes, of FastAPI and of Starlette a problem."""
    app.add_exception_handler(MetsegError, _on_metseg_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_metseg_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MetsegError)  # noqa: S101
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fields = {"request_id": request.scope["state"]["request_id"], "error": type(error).__name__}
        log.warning(error.detail, extra=fields)
    return respond(error, request.scope)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return respond(InvalidParameter(_invalid(**error.errors()[0])), request.scope)


def _invalid(type: str, loc: tuple[str | int, ...], msg: str, **_: object) -> str:
    """What is wrong with the first of the values; the value itself is not quoted."""
    place, *names = map(str, loc)
    if type == "json_invalid":
        return f"The {place} is not valid JSON."
    what = f"`{'.'.join(names)}` in the {place}" if names else f"The {place}"
    return f"{what} is not valid: {msg[:1].lower()}{msg[1:]}."


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return respond(NotFound("There is nothing at this address; /docs lists what there is."), request.scope)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return respond(UploadTooLarge(error.detail), request.scope)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "")
            problem = _plain(
                405, "method-not-allowed", f"This address allows {allowed or 'other methods'}.", request.scope
            )
        case status:
            problem = _plain(status, "bad-request", f"{error.detail}.", request.scope)
    return _respond(problem, error.headers)


def _plain(status: int, kind: str, detail: str, scope: Scope) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(type=f"/problems/{kind}", title=title, status=status, detail=detail, instance=instance(scope))


def _respond(
    problem: Problem, headers: Mapping[str, str] | None = None, *, retry_after_s: float | None = None
) -> Response:
    content: dict[str, Any] = problem.model_dump(exclude_none=True)
    more = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return JSONResponse(content, problem.status, {**(headers or {}), **more}, MEDIA_TYPE)

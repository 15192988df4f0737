"""Every error as `application/problem+json` (RFC 9457)."""

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


def problem_response(error: MetsegError, scope: Scope) -> Response:
    """The response to an error of ours.

    Args:
        error: with the type, status and detail of the problem.
        scope: of the request, whose ID becomes the problem's instance.

    Returns:
        The response.
    """
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorised) else {}
    return _respond(Problem.of(error, _request_urn(scope)), headers, retry_after_s=error.retry_after_s)


def internal_error_response(scope: Scope) -> Response:
    """The response to an unexpected error: it contains nothing but the ID under which the log has the details."""
    detail = "The gateway failed; its log has the details under this request's ID."
    return _respond(_http_problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", detail, scope))


def _request_urn(scope: Scope) -> str:
    return f"urn:metseg:request:{scope['state']['request_id']}"


def log_exception(error: BaseException, request_id: str) -> None:
    """Log where an error was raised, but not its message, which may quote what a client sent.

    Args:
        error: an unexpected one.
        request_id: of the request that caused it.
    """
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("unexpected error", extra={"request_id": request_id, "error": type(error).__name__, "frames": frames})


def add_exception_handlers(app: FastAPI) -> None:
    """Turn every error of the routes, of FastAPI and of Starlette into a problem."""
    app.add_exception_handler(MetsegError, _on_metseg_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_metseg_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MetsegError)  # noqa: S101
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fields = {"request_id": request.scope["state"]["request_id"], "error": type(error).__name__}
        log.warning(error.detail, extra=fields)
    return problem_response(error, request.scope)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return problem_response(InvalidParameter(_describe_invalid(**error.errors()[0])), request.scope)


def _describe_invalid(type: str, loc: tuple[str | int, ...], msg: str, **_: object) -> str:
    """What is wrong with the first invalid value, without the value itself."""
    place, *names = map(str, loc)
    if type == "json_invalid":
        return f"The {place} is not valid JSON."
    what = f"`{'.'.join(names)}` in the {place}" if names else f"The {place}"
    return f"{what} is not valid: {msg[:1].lower()}{msg[1:]}."


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return problem_response(NotFound("There is no such URL; /docs lists all of them."), request.scope)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return problem_response(UploadTooLarge(error.detail), request.scope)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "")
            problem = _http_problem(
                405, "method-not-allowed", f"This URL allows {allowed or 'other methods'}.", request.scope
            )
        case status:
            problem = _http_problem(status, "bad-request", f"{error.detail}.", request.scope)
    return _respond(problem, error.headers)


def _http_problem(status: int, kind: str, detail: str, scope: Scope) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(type=f"/problems/{kind}", title=title, status=status, detail=detail, instance=_request_urn(scope))


def _respond(
    problem: Problem, headers: Mapping[str, str] | None = None, *, retry_after_s: float | None = None
) -> Response:
    content: dict[str, Any] = problem.model_dump(exclude_none=True)
    more = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return JSONResponse(content, problem.status, {**(headers or {}), **more}, MEDIA_TYPE)

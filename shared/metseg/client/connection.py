"""The connection to a gateway: sends requests, retries them, and turns error responses into exceptions."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Self, TypeVar

import httpx
from pydantic import ValidationError

from metseg.contracts import Contract, Problem
from metseg.errors import MetsegError, Unavailable

__all__ = ["Connection", "RemoteProblem", "Response", "parse", "read_answer"]

Response = TypeVar("Response", bound=Contract)

MAX_PAUSE_S = 10.0


class RemoteProblem(MetsegError):
    """The gateway's error response; type, title and status are those of its problem.

    `candidates` are the series in doubt where it is not clear which is which; empty for other problems.
    """

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.type, self.title, self.status = problem.type, problem.title, problem.status
        self.retry_after_s = retry_after_s
        self.candidates = tuple(problem.candidates or ())

    def __reduce__(self) -> tuple[type[Self], tuple[Problem, float | None]]:
        return type(self), (self.problem, self.retry_after_s)


class Connection:
    """Connections to one gateway. Thread-safe.

    Args:
        http: sends the requests.
        max_attempts: per request, including the first one.
        timeout_s: of a request that the gateway does not delay.
    """

    def __init__(self, http: httpx.Client, max_attempts: int, timeout_s: float) -> None:
        self._http, self._max_attempts, self.timeout_s = http, max_attempts, timeout_s

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401
        """Send a request, and retry it if the gateway responds with 503 or not at all.

        Args:
            method: of HTTP.
            path: of the URL.
            request: see `send_once`.

        Returns:
            The successful response.

        Raises:
            RemoteProblem: the last attempt failed.
        """
        for attempt in range(1, self._max_attempts + 1):
            try:
                return self.send_once(method, path, **request)
            except RemoteProblem as problem:
                if problem.status != HTTPStatus.SERVICE_UNAVAILABLE or attempt == self._max_attempts:
                    raise
                pause_s = 2.0 ** (attempt - 1) if problem.retry_after_s is None else problem.retry_after_s
            time.sleep(min(pause_s, MAX_PAUSE_S))
        raise AssertionError("the last attempt returns or raises")

    def send_once(
        self,
        method: str,
        path: str,
        read: Callable[[httpx.Response], object] = httpx.Response.read,
        **request: Any,  # noqa: ANN401
    ) -> httpx.Response:
        """Send a request once.

        Args:
            method: of HTTP.
            path: of the URL.
            read: reads the body of a successful response.
            request: passed to httpx.

        Returns:
            The successful response.

        Raises:
            RemoteProblem: the gateway responds with an error or not at all.
        """
        try:
            with self._http.stream(method, path, **request) as response:
                if response.is_success:
                    read(response)
                    return response
                response.read()
        except httpx.TransportError as error:
            raise _no_response(error) from error
        raise _remote_problem(response)

    @contextmanager
    def stream(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:  # noqa: ANN401
        """Stream a response; not retried, since a broken stream cannot be resumed.

        Args:
            method: of HTTP.
            path: of the URL.
            request: passed to httpx.

        Yields:
            The response, whose body has not been read.

        Raises:
            RemoteProblem: the gateway responds with an error or not at all.
        """
        try:
            with self._http.stream(method, path, **request) as response:
                if not (response.is_success or response.status_code == HTTPStatus.NOT_MODIFIED):
                    response.read()
                    raise _remote_problem(response)
                yield response
        except httpx.TransportError as error:
            raise _no_response(error) from error


def parse(kind: type[Response], response: httpx.Response) -> Response:
    """Parse the body of a response.

    Args:
        kind: the contract that it should satisfy.
        response: a successful one.

    Returns:
        The body.

    Raises:
        RemoteProblem: it does not satisfy the contract.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise _problem(response.status_code, "The gateway and this client have different versions.") from error


def read_answer(kind: type[Response], status: int, headers: Mapping[str, str], body: str) -> Response:
    """Read an answer of the gateway that somebody else received, such as a browser.

    Args:
        kind: the contract that a successful answer satisfies.
        status: of HTTP.
        headers: `Content-Type`, and `Retry-After` if there is one.
        body: of the answer.

    Returns:
        The body of a successful answer.

    Raises:
        RemoteProblem: any other answer.
    """
    response = httpx.Response(status, headers=dict(headers), text=body)
    if response.is_success:
        return parse(kind, response)
    raise _remote_problem(response)


def _no_response(error: httpx.TransportError) -> RemoteProblem:
    detail = f"The gateway does not answer ({type(error).__name__}); try again later."
    return RemoteProblem(Problem.of(Unavailable(detail)))


def _remote_problem(response: httpx.Response) -> RemoteProblem:
    retry_after_s = _seconds(response.headers)
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        try:
            return RemoteProblem(Problem.model_validate_json(response.content), retry_after_s)
        except ValidationError:  # a proxy's problem may lack what the gateway's have
            pass
    return _problem(response.status_code, f"The gateway responded with {response.status_code}.", retry_after_s)


def _problem(status: int, detail: str, retry_after_s: float | None = None) -> RemoteProblem:
    known = status in HTTPStatus._value2member_map_
    title = HTTPStatus(status).phrase if known else "Unexpected response"
    return RemoteProblem(Problem(type="about:blank", title=title, status=status, detail=detail), retry_after_s)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds; the gateway never sends its other form, a date."""
    value = headers.get("Retry-After", "")
    return float(value) if re.fullmatch(r"\d{1,6}", value) else None

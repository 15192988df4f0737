"""The client: every call against a real gateway, and its retries against scripted answers."""

import io
import pickle
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from tests.gateways import Gateway, png, promote_tiny, running
from tests.models import VERSION, tiny_card, tiny_model
from tests.servers import free_ports

from metseg.client import Attachment, Client, RemoteProblem, connection
from metseg.contracts import Job, JobStatus, Problem
from metseg.errors import MetsegError
from metseg.imaging import rendering
from metseg.registry import Registry
from metseg.settings import Settings

JOB = {"id": "0123", "status": "queued", "created_at": "2026-01-01T00:00:00Z", "files": 1}


@pytest.fixture(scope="module")
def gateway(redis, tmp_path_factory) -> Iterator[Gateway]:
    with running(Settings(store_directory=tmp_path_factory.mktemp("store"), **redis.settings())) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.fixture(scope="module")
def remote(gateway) -> Iterator[Client]:
    with Client(gateway.url) as remote:
        yield remote


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The client's pauses, which are recorded instead of waited for."""
    made: list[float] = []
    monkeypatch.setattr(connection.time, "sleep", made.append)
    return made


def scripted(*answers: httpx.Response | Exception, **options: int) -> tuple[Client, list[httpx.Request]]:
    """A client of a gateway that gives these answers, and the requests received."""
    script, seen = iter(answers), []

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        answer = next(script)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client("http://gateway", transport=httpx.MockTransport(handle), **options), seen


def refusal(status: int, **headers: str) -> httpx.Response:
    body = {"type": "/problems/this", "title": "This", "status": status, "detail": "That is why."}
    media_type = {"Content-Type": "application/problem+json"}
    return httpx.Response(
        status, json=body, headers=media_type | {name.replace("_", "-"): headers[name] for name in headers}
    )


def test_a_study_goes_from_submission_to_its_images(gateway, remote, tmp_path):
    (tmp_path / "c.png").write_bytes(png(3))
    files = [("a.png", png(1)), ("b.png", io.BytesIO(png(2))), Attachment("c.png", tmp_path / "c.png")]
    job = remote.submit(files, threshold=0.25, model=VERSION)
    request = gateway.jobs.request(job.id)
    assert (request.threshold, request.model) == (0.25, VERSION)
    assert [file.name for file in request.inputs] == ["a.png", "b.png", "c.png"]
    assert [gateway.store.get(file.key) for file in request.inputs] == [png(1), png(2), png(3)]
    gateway.succeed(job.id, np.ones((3, 32, 32), bool), ("a", "b", "c"))
    assert remote.job(job.id, wait_s=5).status is JobStatus.SUCCEEDED
    assert remote.result(job.id).shape == (3, 32, 32)
    assert remote.mask(job.id, "zip").startswith(b"PK")
    assert remote.probability(job.id, "tiff").startswith(b"II")
    assert remote.slice(job.id, 2) == png(2)
    assert remote.overlay(job.id, 2) == rendering.draw_contours(png(2), np.ones((32, 32), bool))
    assert remote.jobs(limit=1).jobs[0].id == job.id
    remote.delete(job.id)
    with pytest.raises(RemoteProblem) as caught:
        remote.job(job.id)
    assert (caught.value.type, caught.value.status) == ("/problems/not-found", 404)


def test_volumes_are_sent_in_the_fields_of_their_roles(gateway, remote):
    job = remote.submit([Attachment("f.png", png(1), "flair"), Attachment("p.png", png(2), "post")])
    assert [file.role for file in gateway.jobs.request(job.id).inputs] == ["flair", "post"]


def test_pages_follow_each_other(remote):
    submitted = [remote.submit([("a.png", png())]).id for _ in range(3)]
    first = remote.jobs(limit=2)
    assert [job.id for job in (*first.jobs, *remote.jobs(limit=1, cursor=first.next).jobs)] == submitted[::-1]


def test_models_are_listed_read_and_promoted(gateway, remote):
    model = tiny_model(brighter_than=2.5)
    Registry(gateway.store).publish(tiny_card(model, "20260404-000000-tiny"), {"model.onnx": model})
    assert remote.promote("20260404-000000-tiny").version == "20260404-000000-tiny"
    assert remote.models().champion.version == "20260404-000000-tiny"
    assert remote.model(VERSION).network == "tiny"


def test_a_refusal_is_raised_with_the_gateways_message(remote):
    with pytest.raises(RemoteProblem) as caught:
        remote.submit([("a.png", b"this is no picture")])
    problem = caught.value
    assert (problem.type, problem.status) == ("/problems/unsupported-format", 415)
    assert problem.detail == problem.problem.detail
    assert isinstance(problem, MetsegError)


def test_a_remote_problem_pickles():
    problem = RemoteProblem(Problem(type="/problems/x", title="X", status=418, detail="D."), 3)
    again = pickle.loads(pickle.dumps(problem))
    assert (again.problem, again.type, again.retry_after_s) == (problem.problem, "/problems/x", 3)


def test_a_503_is_retried_after_its_retry_after(pauses):
    remote, seen = scripted(refusal(503, Retry_After="3"), refusal(503, Retry_After="5"), httpx.Response(200, json=JOB))
    assert remote.job("0123") == Job.model_validate(JOB)
    assert (pauses, len(seen)) == ([3, 5], 3)


def test_a_retried_submission_keeps_its_key_and_files(pauses):
    remote, seen = scripted(refusal(503), httpx.ConnectError("refused"), httpx.Response(202, json=JOB))
    stream = io.BytesIO(b"content of a file")
    remote.submit([("a.png", stream)])
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1
    assert all(b"content of a file" in request.content for request in seen)
    assert not stream.closed


def test_each_submission_has_a_new_key_unless_one_is_given():
    remote, seen = scripted(*[httpx.Response(202, json=JOB)] * 3)
    for key in (None, None, "mine"):
        remote.submit([("a.png", b"x")], idempotency_key=key)
    first, second, third = (request.headers["Idempotency-Key"] for request in seen)
    assert first != second
    assert third == "mine"


def test_retries_are_bounded(pauses):
    remote, seen = scripted(*[refusal(503, Retry_After="99999")] * 10)
    with pytest.raises(RemoteProblem) as caught:
        remote.result("0123")
    assert (caught.value.status, caught.value.retry_after_s) == (503, 99999)
    assert (len(seen), pauses) == (4, [10, 10, 10])


def test_the_retry_bound_can_be_set(pauses):
    remote, seen = scripted(*[refusal(503)] * 10, max_attempts=2)
    with pytest.raises(RemoteProblem):
        remote.models()
    assert (len(seen), pauses) == (2, [1])


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 500, 502])
def test_no_other_refusal_is_retried(status, pauses):
    remote, seen = scripted(refusal(status))
    with pytest.raises(RemoteProblem):
        remote.models()
    assert (len(seen), pauses) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        httpx.Response(502, content=b"{", headers={"Content-Type": "application/problem+json"}),
    ],
)
def test_an_answer_of_another_server_is_a_problem(answer):
    remote, _ = scripted(answer)
    with pytest.raises(RemoteProblem) as caught:
        remote.job("0123")
    assert (caught.value.title, caught.value.status) == ("Bad Gateway", 502)
    assert "502" in caught.value.detail


def test_a_field_of_a_newer_gateway_is_ignored():
    remote, _ = scripted(httpx.Response(200, json=JOB | {"colour": "red"}))
    assert remote.job("0123") == Job.model_validate(JOB)


def test_a_malformed_response_is_a_problem():
    remote, _ = scripted(httpx.Response(200, json=JOB | {"status": "paused"}))
    with pytest.raises(RemoteProblem) as caught:
        remote.job("0123")
    assert "version" in caught.value.detail


@pytest.mark.parametrize("call", [lambda remote: remote.jobs(), lambda remote: remote.submit([("a.png", b"x")])])
def test_a_missing_gateway_is_unavailable(pauses, call: Callable):
    with Client(f"http://127.0.0.1:{free_ports(1)[0]}") as remote, pytest.raises(RemoteProblem) as caught:
        call(remote)
    assert (caught.value.type, caught.value.status) == ("/problems/unavailable", 503)
    assert pauses == [1, 2, 4]


def test_a_wait_outlasts_the_timeout_of_plain_calls(gateway):
    with Client(gateway.url, timeout_s=1) as impatient:
        job = impatient.submit([("a.png", png())], idempotency_key=uuid.uuid4().hex)
        began = time.monotonic()
        assert impatient.job(job.id, wait_s=2).status is JobStatus.QUEUED
        assert time.monotonic() - began >= 2

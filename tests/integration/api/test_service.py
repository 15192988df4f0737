"""Properties of every answer: problems, ids, headers, logs, metrics, documentation."""

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from tests.gateways import Gateway, png, problem, promote_tiny, running
from tests.models import VERSION, tiny_card, tiny_model
from tests.servers import wait_until

import metseg.errors
from metseg.contracts import ModelPage
from metseg.errors import MetsegError, Unavailable
from metseg.registry import Registry
from metseg.settings import Limits, Settings
from metseg_api.app import create_app


def kinds(kind: type[MetsegError] = MetsegError) -> Iterator[type[MetsegError]]:
    """Every class of the error tree."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == metseg.errors.__name__:
            yield from kinds(each)


def access_lines(caplog: pytest.LogCaptureFixture) -> dict[str, logging.LogRecord]:
    """The access log's lines by request id; a line is written after its answer."""
    return {each.request_id: each for each in caplog.records if each.name == "metseg.access"}


@pytest.fixture(scope="module")
def settings(redis, tmp_path_factory) -> Settings:
    return Settings(store_directory=tmp_path_factory.mktemp("store"), **redis.settings(), limits=Limits(files=5))


@pytest.fixture(scope="module")
def gateway(settings) -> Iterator[Gateway]:
    with running(settings) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_every_metseg_error_has_its_own_problem_type(gateway, monkeypatch, kind):
    def refuse(*_: object) -> None:
        raise kind("This is why.")

    monkeypatch.setattr(gateway.jobs, "page", refuse)
    response = gateway.http.get("/v1/jobs")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.status_code == kind.status
    assert response.json() == {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": "This is why.",
        "instance": f"urn:metseg:request:{response.headers['X-Request-ID']}",
    }
    assert ("Retry-After" in response.headers) == (issubclass(kind, Unavailable) or response.status_code == 429)


def test_problem_types_are_distinct():
    types = [kind.type for kind in kinds()]
    assert len(types) == len(set(types))


def test_an_unexpected_error_reveals_and_logs_no_content(gateway, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("DOE^JANE is in /scans/DOE^JANE.png")

    monkeypatch.setattr(gateway.jobs, "page", fail)
    with caplog.at_level(logging.DEBUG):
        response = gateway.http.get("/v1/jobs", headers={"X-Request-ID": "the-request"})
    problem(response, 500, "internal-error")
    assert "DOE" not in response.text + caplog.text
    [record] = [each for each in caplog.records if each.getMessage() == "unexpected error"]
    assert (record.request_id, record.error) == ("the-request", "RuntimeError")
    assert record.frames[-1].endswith("fail")
    assert not any(each.exc_info for each in caplog.records)
    monkeypatch.undo()
    assert gateway.http.get("/v1/jobs").status_code == 200


def test_an_answer_that_fails_halfway_is_cut_not_completed(gateway, monkeypatch):
    def half() -> Iterator[bytes]:
        yield b"half"
        raise metseg.errors.StoreUnavailable("The store went away.")

    @contextmanager
    def broken(*_: object) -> Iterator[Iterator[bytes]]:
        yield half()
        closed.append(True)

    closed: list[bool] = []
    job = gateway.accepted()
    gateway.succeed(job.id, np.zeros((1, 32, 32), bool), ("slice_0",))
    monkeypatch.setattr(type(gateway.store), "stream", broken)
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.http.get(f"/v1/jobs/{job.id}/mask")
    assert closed == [True]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v2/jobs", "/v1/jobs/x/y/z"])
def test_an_unknown_path_is_a_problem(gateway, path):
    problem(gateway.http.get(path), 404, "not-found")


def test_an_unsupported_method_is_a_problem_with_an_allow_header(gateway):
    response = gateway.http.put("/v1/jobs")
    assert response.headers["Allow"] in problem(response, 405, "method-not-allowed")


@pytest.mark.parametrize("path", ["/v1/jobs/", "/v1/models/", "/healthz/"])
def test_no_answer_redirects_to_the_host_that_a_request_names(gateway, path):
    response = gateway.http.get(path, headers={"Host": "evil"})
    assert "evil" not in str(response.headers)
    problem(response, 404, "not-found")


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/models", "/openapi.json", "/nothing"])
def test_head_is_answered_as_get_without_a_body(gateway, path):
    whole, head = gateway.http.get(path), gateway.http.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert gateway.http.get("/healthz").status_code == 200  # on the same connection


def test_head_of_a_call_that_has_no_get_is_refused(gateway):
    assert gateway.http.head(f"/v1/jobs/{'0' * 32}/repeat").status_code == 405


def test_a_boolean_is_no_threshold(gateway):
    job = gateway.accepted()
    response = gateway.http.post(f"/v1/jobs/{job.id}/repeat", json={"threshold": True})
    assert "`threshold`" in problem(response, 422, "invalid-parameter")


def test_a_damaged_body_leaves_none_of_it_in_the_log(gateway, caplog):
    media_type = {"Content-Type": "multipart/form-data; boundary=x"}
    with caplog.at_level(logging.DEBUG):
        gateway.http.post("/v1/jobs", content=b"--x\r\nDOE^JANE: \x01\r\n\r\n--x", headers=media_type)
        gateway.http.post("/v1/jobs", content=b"Q", headers=media_type)
    assert not [each for each in caplog.records if each.name.startswith(("python_multipart", "multipart"))]


def test_broken_json_is_one_clear_sentence(gateway):
    response = gateway.http.put("/v1/models/champion", content=b"{", headers={"Content-Type": "application/json"})
    assert "JSON" in problem(response, 422, "invalid-parameter")


def test_json_of_the_wrong_shape_names_the_field(gateway):
    assert "`version`" in problem(gateway.http.put("/v1/models/champion", json={}), 422, "invalid-parameter")


def test_a_refused_value_is_not_quoted(gateway):
    response = gateway.http.get("/v1/jobs?limit=DOE^JANE")
    assert "DOE" not in problem(response, 422, "invalid-parameter")


def test_a_request_keeps_its_id(gateway):
    assert (
        gateway.http.get("/healthz", headers={"X-Request-ID": "trace-1.a_B"}).headers["X-Request-ID"] == "trace-1.a_B"
    )


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", 'x"}{"'])
def test_a_request_without_a_usable_id_gets_one(gateway, given):
    headers = {} if given is None else {"X-Request-ID": given}
    assert re.fullmatch(r"[0-9a-f]{32}", gateway.http.get("/healthz", headers=headers).headers["X-Request-ID"])


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nothing", "/docs", "/metrics"])
def test_every_answer_has_security_headers(gateway, path):
    headers = gateway.http.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert not any(name.startswith("access-control-") for name in headers)


def test_the_access_log_names_the_route_and_the_job_and_no_file(gateway, caplog):
    with caplog.at_level(logging.INFO, "metseg.access"):
        sent = gateway.http.post("/v1/jobs", files={"files": ("DOE^JANE.png", png())})
        job_id = sent.json()["id"]
        gateway.http.get(f"/v1/jobs/{job_id}?wait=0", headers={"X-Request-ID": "followed"})
        wait_until(lambda: {sent.headers["X-Request-ID"], "followed"} <= access_lines(caplog).keys(), 5)
    submitted, followed = (access_lines(caplog)[each] for each in (sent.headers["X-Request-ID"], "followed"))
    assert (submitted.route, submitted.method, submitted.status) == ("/v1/jobs", "POST", 202)
    assert submitted.client == "127.0.0.1"
    assert submitted.received_bytes > len(png())
    assert (followed.route, followed.request_id) == ("/v1/jobs/{job_id}", "followed")
    logged = json.dumps([vars(each) for each in caplog.records], default=str)
    assert "DOE" not in logged
    assert {(line.job, line.key) for line in (submitted, followed)} == {(job_id, None)}


def test_a_malformed_job_id_is_not_logged(gateway, caplog):
    with caplog.at_level("INFO", "metseg.access"):
        for path in ("DOE-JOHN", "mrn-5550199/result", "A" * 32, "0" * 31):
            gateway.http.get(f"/v1/jobs/{path}", headers={"X-Request-ID": "planted"})
        wait_until(lambda: "planted" in access_lines(caplog), 5)
    ours = [each for each in caplog.records if each.name.startswith("metseg")]  # the test's client logs URLs
    logged = json.dumps([vars(each) for each in ours], default=str)
    assert not [word for word in ("DOE", "5550199", "A" * 32, "0" * 31 + '"') if word in logged]


def test_other_origins_cannot_call_the_gateway(gateway):
    asks = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (gateway.http.options("/v1/jobs", headers=asks), gateway.http.get("/v1/models", headers=asks)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert gateway.http.options("/v1/jobs", headers=asks).status_code == 405


def test_a_healthy_gateway_is_alive_and_ready(gateway):
    assert gateway.http.get("/healthz").json() == {"status": "alive"}
    assert gateway.http.get("/readyz").json() == {"status": "ready"}


def test_a_store_that_was_never_prepared_is_not_ready(tmp_path, redis):
    with running(Settings(store_directory=tmp_path / "store", **redis.settings())) as bare:
        problem(bare.http.get("/readyz"), 503, "no-champion")
        (tmp_path / "store").rename(tmp_path / "away")
        problem(bare.http.get("/readyz"), 503, "store-unavailable")


def test_metrics_count_by_route_and_outcome_and_include_the_queue(gateway):
    gateway.accepted()
    gateway.submit(b"text")
    gateway.http.request("BREW", "/v1/jobs")
    accepted = 'metseg_http_requests_total{method="POST",route="/v1/jobs",status="202"}'
    wait_until(lambda: accepted in gateway.http.get("/metrics").text, 5)
    text = gateway.http.get("/metrics").text
    assert 'metseg_submissions_total{outcome="accepted"}' in text
    assert 'metseg_submissions_total{outcome="/problems/unsupported-format"}' in text
    assert "BREW" not in text
    assert re.search(r"^metseg_queue_depth [1-9]", text, re.M)


def test_the_registry_lists_promotes_and_rolls_back(gateway):
    registry = Registry(gateway.store)
    newer = tiny_model(brighter_than=2.0)
    registry.publish(tiny_card(newer, "20260202-000000-tiny"), {"model.onnx": newer})
    promoted = gateway.http.put("/v1/models/champion", json={"version": "20260202-000000-tiny"})
    assert (promoted.status_code, promoted.json()["version"]) == (200, "20260202-000000-tiny")
    page = ModelPage.model_validate(gateway.http.get("/v1/models").json())
    assert {card.version for card in page.models} == {VERSION, "20260202-000000-tiny"}
    assert page.champion.version == "20260202-000000-tiny"
    assert gateway.http.put("/v1/models/champion", json={"version": VERSION}).json()["version"] == VERSION
    assert gateway.http.get(f"/v1/models/{VERSION}").json()["network"] == "tiny"


def test_a_damaged_model_is_not_promoted(gateway):
    registry, model = Registry(gateway.store), tiny_model(brighter_than=3.0)
    registry.publish(tiny_card(model, "20260303-000000-tiny"), {"model.onnx": model})
    gateway.store.put("models/20260303-000000-tiny/model.onnx", b"something else")
    problem(gateway.http.put("/v1/models/champion", json={"version": "20260303-000000-tiny"}), 409, "model-rejected")
    assert registry.champion().version == VERSION


@pytest.mark.parametrize("version", ["20990101-000000-none", "UPPER", "..", "a" * 100, "-"])
def test_an_unknown_model_is_404(gateway, version):
    problem(gateway.http.get(f"/v1/models/{version}"), 404, "not-found")


def test_an_unknown_model_is_not_promoted(gateway):
    problem(gateway.http.put("/v1/models/champion", json={"version": "20990101-000000-none"}), 404, "not-found")


def test_the_documentation_loads_nothing_from_other_hosts(gateway):
    page = gateway.http.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/")
        assert gateway.http.get(link).status_code == 200


def test_openapi_documents_every_route_with_its_problems(settings):
    schema = create_app(settings).openapi()
    operations = {
        (method, path): operation for path, item in schema["paths"].items() for method, operation in item.items()
    }
    assert {path for _, path in operations} >= {
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/result",
        "/v1/jobs/{job_id}/mask",
        "/v1/jobs/{job_id}/probability",
        "/v1/jobs/{job_id}/overlay/{index}",
        "/v1/jobs/{job_id}/slice/{index}",
        "/v1/models",
        "/v1/models/champion",
        "/v1/models/{version}",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    tags = {tag["name"] for tag in schema["tags"]}
    for operation in operations.values():
        assert operation["summary"]
        assert set(operation["tags"]) <= tags
        for status, answer in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                assert "application/problem+json" in answer["content"], (operation["summary"], status)
    statuses = set(operations["post", "/v1/jobs"]["responses"])
    assert {"202", "400", "409", "413", "415", "422", "503"} <= statuses
    assert "multipart/form-data" in operations["post", "/v1/jobs"]["requestBody"]["content"]


def test_every_openapi_reference_resolves(settings):
    schema = create_app(settings).openapi()
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert "Problem" in references
    assert references <= set(schema["components"]["schemas"])


def test_an_idle_connection_does_not_block_others(gateway):
    silent = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(50)]
    began = time.monotonic()
    assert gateway.http.get("/readyz").status_code == 200
    assert time.monotonic() - began < 8
    for each in silent:
        each.close()

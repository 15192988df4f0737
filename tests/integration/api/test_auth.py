"""Keys over REST: access, scopes, and whose jobs a key sees."""

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.followed import A, finish
from tests.gateways import Gateway, png, problem, promote_tiny, running
from tests.models import VERSION
from tests.servers import wait_until

from metseg.client import Client, RemoteProblem
from metseg.contracts import Job, JobPage
from metseg.errors import NotFound, Unauthorised
from metseg.settings import Settings

KEYS = {
    "ward": ("submit", "read"),
    "lab": ("submit", "read"),
    "scanner": ("submit",),
    "viewer": ("read",),
    "head": ("admin",),
}


@pytest.fixture(scope="module")
def gateway(redis, tmp_path_factory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("access")
    entries = [
        {"name": name, "sha256": hashlib.sha256(f"key of {name}".encode()).hexdigest(), "scopes": scopes}
        for name, scopes in KEYS.items()
    ]
    (folder / "keys.json").write_text(json.dumps(entries))
    places = {"store_directory": folder / "store", "api_keys_file": folder / "keys.json"}
    with running(Settings(**redis.settings(), **places)) as gateway:
        promote_tiny(gateway.store)
        yield gateway


ALL = {"everyone": True}


def of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key of {name}"}


@pytest.fixture
def job(gateway) -> Iterator[Job]:
    job = Job.model_validate(gateway.submit(png(), headers=of("ward")).json())
    yield job
    with suppress(NotFound):  # so that the open jobs of the key do not reach its limit
        gateway.jobs.delete(job.id)


CALLS = [
    ("POST", "/v1/jobs", "submit"),
    ("GET", "/v1/jobs", "read"),
    ("GET", "/v1/jobs/{id}", "read"),
    ("DELETE", "/v1/jobs/{id}", "submit"),
    ("GET", "/v1/jobs/{id}/result", "read"),
    ("GET", "/v1/jobs/{id}/mask", "read"),
    ("GET", "/v1/jobs/{id}/probability", "read"),
    ("GET", "/v1/jobs/{id}/uncertainty", "read"),
    ("GET", "/v1/jobs/{id}/overlay/0", "read"),
    ("GET", "/v1/jobs/{id}/slice/0", "read"),
    ("POST", "/v1/jobs/{id}/repeat", "submit"),
    ("GET", "/v1/jobs/{id}/volume/mask", "read"),
    ("GET", f"/v1/models/{VERSION}/report", "read"),
    ("GET", "/v1/me", "any"),
    ("GET", "/v1/overview", "admin"),
    ("GET", "/v1/jobs/{id}/lesions", "read"),
    ("GET", "/v1/jobs/{id}/report", "read"),
    ("GET", "/v1/jobs/{id}/animation", "read"),
    ("GET", "/v1/jobs/{id}/overlays", "read"),
    ("GET", "/v1/jobs/{id}/structured-report", "read"),
    ("GET", "/v1/jobs/{id}/secondary-capture", "read"),
    ("GET", "/v1/jobs/{id}/glimpse", "read"),
    ("GET", "/v1/models", "read"),
    ("GET", f"/v1/models/{VERSION}", "read"),
    ("PUT", "/v1/models/champion", "admin"),
    ("GET", "/v1/jobs/{id}/review", "read"),
    ("PUT", "/v1/jobs/{id}/review", "submit"),
    ("DELETE", "/v1/jobs/{id}/review", "submit"),
    ("GET", "/v1/jobs/{id}/reviews", "read"),
    ("POST", "/v1/followups", "submit"),
    ("GET", "/v1/followups/{id}", "read"),
    ("GET", "/v1/followups/{id}/report", "read"),
    ("GET", "/v1/followups/{id}/structured-report", "read"),
    ("DELETE", "/v1/followups/{id}", "submit"),
]


def test_every_route_of_the_interface_is_among_the_calls(gateway):
    paths = gateway.http.get("/openapi.json").json()["paths"]
    listed = {
        (
            method.upper(),
            path.replace("{job_id}", "{id}")
            .replace("{follow_up_id}", "{id}")
            .replace("{index}", "0")
            .replace("{version}", VERSION)
            .replace("{layer}", "mask"),
        )
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/")
    }
    assert listed == {(method, path) for method, path, _ in CALLS}


@pytest.mark.parametrize(("method", "path", "_"), CALLS)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic a2V5"}])
def test_every_call_requires_a_key(gateway, job, method, path, _, headers):
    response = gateway.http.request(method, path.format(id=job.id), headers=headers)
    assert problem(response, 401, "unauthorised")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert gateway.jobs.get(job.id).id == job.id


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_a_key_is_limited_to_its_scopes(gateway, job, method, path, scope):
    path = path.format(id=job.id)
    refused = [name for name, scopes in KEYS.items() if scope != "any" and {scope, "admin"}.isdisjoint(scopes)]
    for name in refused:
        response = gateway.http.request(method, path, headers=of(name), json={"version": VERSION})
        assert response.status_code == 403 or (response.status_code == 404 and name != "ward")
    if (method, scope) == ("PUT", "admin"):
        assert problem(gateway.http.put(path, headers=of("ward"), json={"version": VERSION}), 403, "forbidden")
        assert gateway.http.put(path, headers=of("head"), json={"version": VERSION}).status_code == 200


def test_a_submit_key_cannot_read_its_job_but_can_delete_it(gateway):
    job = Job.model_validate(gateway.submit(png(), headers=of("scanner")).json())
    for path in ("/v1/jobs", f"/v1/jobs/{job.id}", f"/v1/jobs/{job.id}/result", f"/v1/jobs/{job.id}/mask"):
        assert problem(gateway.http.get(path, headers=of("scanner")), 403, "forbidden")
    assert gateway.http.delete(f"/v1/jobs/{job.id}", headers=of("scanner")).status_code == 204


def test_a_read_key_cannot_submit(gateway):
    before = gateway.job_keys()
    assert problem(gateway.submit(png(), headers=of("viewer")), 403, "forbidden")
    assert gateway.job_keys() == before


@pytest.mark.parametrize(("method", "path"), [call[:2] for call in CALLS if "{id}" in call[1]])
def test_a_job_of_another_key_is_not_found(gateway, job, method, path):
    response = gateway.http.request(method, path.format(id=job.id), headers=of("lab"))
    assert problem(response, 404, "not-found")
    assert gateway.http.get(f"/v1/jobs/{job.id}", headers=of("ward")).status_code == 200


def test_an_admin_sees_and_deletes_every_job(gateway, job):
    assert gateway.http.get(f"/v1/jobs/{job.id}", headers=of("head")).status_code == 200
    assert gateway.http.delete(f"/v1/jobs/{job.id}", headers=of("head")).status_code == 204
    assert problem(gateway.http.get(f"/v1/jobs/{job.id}", headers=of("ward")), 404, "not-found")


def test_an_admins_list_is_its_own_unless_it_asks_for_all(gateway, job):
    [own] = [Job.model_validate(gateway.submit(png(), headers=of("head")).json()).id]
    mine, everyones = ({each.id for each in listed(gateway, "head", limit=100, **query).jobs} for query in ({}, ALL))
    assert own in mine and job.id not in mine and {own, job.id} <= everyones
    assert problem(gateway.http.get("/v1/jobs", params=ALL, headers=of("ward")), 403, "forbidden")
    assert listed(gateway, "lab", id=[own, job.id]).jobs == [], "ids of others' jobs say nothing"
    assert [each.id for each in listed(gateway, "head", id=[own, job.id]).jobs] == [own, job.id]


def listed(gateway, name, **query) -> JobPage:
    return JobPage.model_validate(gateway.http.get("/v1/jobs", params=query, headers=of(name)).json())


def test_a_list_holds_only_the_callers_jobs_on_every_page(gateway):
    before = {job.id for job in listed(gateway, "lab", limit=100).jobs}
    made = [Job.model_validate(gateway.submit(png(), headers=of(name)).json()).id for name in ("lab", "ward") * 3]
    mine = made[::2][::-1]
    first = listed(gateway, "lab", limit=2)
    assert [job.id for job in first.jobs] == mine[:2]
    second = listed(gateway, "lab", limit=100, cursor=first.next)
    assert [job.id for job in second.jobs if job.id not in before] == mine[2:]
    assert set(made) <= {job.id for job in listed(gateway, "head", limit=100, everyone=True).jobs}


def test_a_list_is_the_same_after_redis_lost_it(gateway, redis, job):
    before = [one.id for one in listed(gateway, "ward", limit=100).jobs]
    redis.flush()
    assert [one.id for one in listed(gateway, "ward", limit=100).jobs] == before
    assert job.id in before


def test_an_idempotency_key_belongs_to_its_sender(gateway):
    def submitted(name: str) -> str:
        response = gateway.submit(png(), headers=of(name) | {"Idempotency-Key": key})
        return Job.model_validate(response.json()).id

    key = uuid.uuid4().hex
    assert submitted("ward") == submitted("ward") != submitted("lab") == submitted("lab")


def test_health_and_metrics_need_no_key(gateway):
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert gateway.http.get(path).status_code == 200


def test_the_log_names_caller_action_and_job_but_no_key(gateway, job, caplog):
    def seen() -> list[tuple[str, str, int]]:
        return [(line.key, line.job, line.status) for line in caplog.records if getattr(line, "method", "") == "GET"]

    with caplog.at_level(logging.INFO, "metseg.access"):
        gateway.http.get(f"/v1/jobs/{job.id}", headers=of("ward"))
        gateway.http.get(f"/v1/jobs/{job.id}", headers=of("lab"))
        wait_until(lambda: len(seen()) == 2, 5)
    assert seen() == [("ward", job.id, 200), ("lab", job.id, 404)]
    assert "key of" not in caplog.text + str([vars(line) for line in caplog.records])


def test_the_client_sends_its_key(gateway):
    with Client(gateway.url, api_key="key of ward") as client:
        job = client.submit([("a.png", png())])
        assert client.job(job.id).id == job.id
    with Client(gateway.url) as client, pytest.raises(RemoteProblem) as refused:
        client.job(job.id)
    assert (refused.value.type, refused.value.status) == (Unauthorised.type, 401)


def test_a_follow_up_reaches_no_other_keys_studies(gateway):
    ours = [finish(gateway, [(A, 12.0)], headers=of("ward")).id for _ in range(2)]
    other = finish(gateway, [(A, 12.0)], headers=of("lab")).id
    refused = gateway.http.post("/v1/followups", json={"jobs": [ours[0], other]}, headers=of("ward"))
    problem(refused, 404, "not-found")
    problem(gateway.http.post("/v1/followups", json={"jobs": ours}, headers=of("viewer")), 403, "forbidden")
    accepted = gateway.http.post("/v1/followups", json={"jobs": ours}, headers=of("ward")).json()["id"]
    problem(gateway.http.get(f"/v1/followups/{accepted}", headers=of("lab")), 404, "not-found")
    assert gateway.http.get(f"/v1/followups/{accepted}", headers=of("ward")).status_code == 200

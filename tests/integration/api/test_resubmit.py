"""Resubmissions, the caller's identity, the overview of the deployment, previews, and models' reports."""

import re

from tests.gateways import begin, png, problem
from tests.models import VERSION

from metseg.client import Client
from metseg.contracts import JobStatus, Problem
from metseg.errors import ProcessingFailed


def test_a_resubmission_to_another_model_outlives_the_first_job(gateway):
    first = gateway.accepted(png(1), png(2))
    with Client(gateway.url) as client:
        again = client.repeat(first.id, VERSION, 0.3)
        client.delete(first.id)
    assert again.id != first.id and again.status is JobStatus.QUEUED and again.files == 2
    request = gateway.jobs.request(again.id)
    assert (request.model, request.threshold) == (VERSION, 0.3)
    assert [gateway.store.get(file.key) for file in request.inputs] == [png(1), png(2)]
    assert all(again.id in file.key for file in request.inputs)


def test_a_second_exchange_of_sequences_names_them_as_the_first_one_left_them(gateway):
    job = gateway.accepted(png(1))
    turns = {"pre": "flair", "flair": "post", "post": "pre"}
    with Client(gateway.url) as client:
        once = client.repeat(job.id, exchanged={"flair": "post", "post": "flair"})
        twice = client.repeat(once.id, exchanged=turns)
        back = client.repeat(twice.id, exchanged={"flair": "post", "post": "flair"})
    assert gateway.jobs.request(once.id).exchanged == {"flair": "post", "post": "flair"}
    assert gateway.jobs.request(twice.id).exchanged == {"flair": "pre", "post": "post", "pre": "flair"}
    assert gateway.jobs.request(back.id).exchanged == {"flair": "pre", "post": "flair", "pre": "post"}
    refused = gateway.http.post(f"/v1/jobs/{job.id}/repeat", json={"exchanged": {"pre": "post", "flair": "post"}})
    problem(refused, 422, "invalid-parameter")


def test_a_resubmission_is_counted_like_any_other(gateway):
    def count(outcome):
        found = re.search(rf'^metseg_submissions_total{{outcome="{outcome}"}} (\d+)', metrics().text, re.MULTILINE)
        return int(found[1]) if found else 0

    def metrics():
        return gateway.http.get("/metrics")

    job = gateway.accepted()
    before = [count("accepted"), count("/problems/not-found")]
    assert gateway.http.post(f"/v1/jobs/{job.id}/repeat", json={}).status_code == 202
    gateway.http.post(f"/v1/jobs/{'0' * 32}/repeat", json={})
    assert [count("accepted"), count("/problems/not-found")] == [before[0] + 1, before[1] + 1]


def test_a_refused_resubmission_leaves_nothing(gateway):
    job = gateway.accepted(png(3))
    kept = gateway.job_keys()
    path = f"/v1/jobs/{job.id}/repeat"
    assert "a version that /v1/models lists" in problem(
        gateway.http.post(path, json={"model": "other"}), 422, "invalid-parameter"
    )
    problem(gateway.http.post(path, json={"model": "../x"}), 422, "invalid-parameter")
    problem(gateway.http.post(f"/v1/jobs/{'0' * 32}/repeat", json={}), 404, "not-found")
    assert gateway.job_keys() == kept


def test_an_open_gateway_grants_all_scopes_and_shows_its_overview(gateway):
    with Client(gateway.url) as client:
        assert client.me().model_dump() == {"name": None, "scopes": ["submit", "read", "admin"]}
        before = client.overview()
        gateway.accepted(png(4))
        after = client.overview()
    assert after.waiting == before.waiting + 1
    assert after.champion is not None and after.champion.version == VERSION


def test_a_models_report_may_run_no_script(gateway):
    gateway.store.put(f"models/{VERSION}/report.html", b"<h1>Report</h1>")
    response = gateway.http.get(f"/v1/models/{VERSION}/report")
    assert response.content == b"<h1>Report</h1>"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    problem(gateway.http.get("/v1/models/other/report"), 404, "not-found")


def test_only_a_running_job_has_a_preview(gateway):
    job = gateway.accepted(png(5))
    path = f"/v1/jobs/{job.id}/glimpse"
    assert "queued" in problem(gateway.http.get(path), 404, "not-found")
    assert begin(gateway.runner, job.id) is not None
    problem(gateway.http.get(path), 404, "not-found")
    gateway.runner.put_preview(job.id, lambda: png(6))
    response = gateway.http.get(path)
    assert (response.content, response.headers["Cache-Control"]) == (png(6), "no-store")


def test_no_preview_is_drawn_that_nobody_looks_at(gateway):
    job = gateway.accepted(png(4))
    assert begin(gateway.runner, job.id) is not None
    drawn: list[bytes] = []
    gateway.runner.put_preview(job.id, lambda: drawn.append(png(6)) or png(6))
    assert not drawn and f"jobs/{job.id}/glimpse.png" not in gateway.job_keys()
    problem(gateway.http.get(f"/v1/jobs/{job.id}/glimpse"), 404, "not-found")
    gateway.runner.put_preview(job.id, lambda: png(6))
    assert gateway.http.get(f"/v1/jobs/{job.id}/glimpse").content == png(6)


def test_a_preview_does_not_outlive_its_job(gateway):
    for late in (False, True):  # late: of a worker whose job another one has ended meanwhile
        job = gateway.accepted(png(9))
        assert begin(gateway.runner, job.id) is not None
        gateway.http.get(f"/v1/jobs/{job.id}/glimpse")
        gateway.runner.put_preview(job.id, lambda: png(8))
        assert f"jobs/{job.id}/glimpse.png" in gateway.job_keys()
        gateway.runner.fail(job.id, Problem.of(ProcessingFailed("It failed.")))
        if late:
            gateway.runner.put_preview(job.id, lambda: png(8))
        assert not [key for key in gateway.job_keys() if job.id in key and key.endswith(".png") and "input" not in key]


def test_a_preview_of_a_job_that_is_deleted_meanwhile_is_not_kept(gateway):
    job = gateway.accepted(png(7))
    assert begin(gateway.runner, job.id) is not None
    gateway.http.get(f"/v1/jobs/{job.id}/glimpse")
    gateway.http.delete(f"/v1/jobs/{job.id}")
    gateway.runner.put_preview(job.id, lambda: png(8))
    assert not [key for key in gateway.job_keys() if job.id in key]


def test_a_resubmission_as_another_sequence_overrules_the_field_of_a_single_one(gateway):
    for field in ("files", "flair"):
        response = gateway.http.post("/v1/jobs", files=[(field, ("a.png", png()))], data={"sequence": "pre"})
        with Client(gateway.url) as client:
            again = client.repeat(response.json()["id"], sequence="post")
            unchanged = client.repeat(response.json()["id"])
        request = gateway.jobs.request(again.id)
        assert request.sequence == "post" and [file.role for file in request.inputs] == [None]
        assert gateway.jobs.request(unchanged.id).sequence == "pre"

"""Jobs over REST: accepted, followed, listed, deleted, and once per idempotency key."""

import concurrent.futures
import hashlib
import io
import time
import uuid

import anyio
import httpx
import numpy as np
import pytest
from tests.gateways import begin, png, problem, zipped
from tests.models import VERSION

from metseg import formats
from metseg.contracts import Job, JobPage, JobStatus, Problem
from metseg.errors import UnreadableImage
from metseg_api import waiting as long_polls


def test_an_accepted_submission_is_stored_and_queued(gateway):
    files = [png(1), png(2)]
    response = gateway.submit(*files, threshold="0.25", model=VERSION)
    job = Job.model_validate(response.json())
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job.id}"
    assert response.headers["Retry-After"] == "1"
    assert (job.status, job.files, job.attempts) == (JobStatus.QUEUED, 2, 0)
    request = gateway.jobs.request(job.id)
    assert (request.threshold, request.model) == (0.25, VERSION)
    assert [file.name for file in request.inputs] == ["slice_0.png", "slice_1.png"]
    assert [file.sha256 for file in request.inputs] == [hashlib.sha256(data).hexdigest() for data in files]
    assert [gateway.store.get(file.key) for file in request.inputs] == files


def test_fields_left_blank_mean_the_defaults(gateway):
    job = Job.model_validate(gateway.submit(png(), threshold="", model="").json())
    request = gateway.jobs.request(job.id)
    assert (request.threshold, request.model) == (None, None)


def test_a_label_is_shown_and_survives_a_resubmission(gateway):
    job = Job.model_validate(gateway.submit(png(), label=" Kopf, 2. Aufnahme ").json())
    assert job.label == "Kopf, 2. Aufnahme"
    page = JobPage.model_validate(gateway.http.get("/v1/jobs").json())
    [listed] = [each for each in page.jobs if each.id == job.id]
    assert listed.label == gateway.jobs.get(job.id).label == job.label
    again = gateway.http.post(f"/v1/jobs/{job.id}/repeat", json={})
    assert again.json()["label"] == job.label
    assert Job.model_validate(gateway.submit(png(), label="").json()).label is None


@pytest.mark.parametrize("label", ["x" * 201, "two\nlines", "\x1b[31mred"])
def test_a_label_that_is_not_one_short_line_is_refused(gateway, label):
    problem(gateway.submit(png(), label=label), 422, "invalid-parameter")


def test_volumes_by_role_keep_their_roles(gateway):
    parts = [
        ("flair", ("a.png", png(1))),
        ("flair", ("b.png", png(2))),
        ("post", ("a.png", png(3))),
        ("post", ("b.png", png(4))),
    ]
    response = gateway.http.post("/v1/jobs", files=parts)
    assert response.status_code == 202, response.text
    request = gateway.jobs.request(response.json()["id"])
    assert [file.role for file in request.inputs] == ["flair", "flair", "post", "post"]


def test_a_zip_of_slices_is_one_file_and_one_job(gateway):
    job = gateway.accepted(zipped({f"{index}.png": png(index) for index in range(3)}))
    assert job.files == 1


def test_a_truncated_png_is_accepted_by_its_header_and_refused_by_the_reader(gateway):
    truncated = png(rows=200, columns=200)[:-5000]
    job = gateway.accepted(truncated)
    [file] = gateway.jobs.request(job.id).inputs
    with pytest.raises(UnreadableImage):
        formats.read_volume(
            [formats.Upload(file.name, io.BytesIO(gateway.store.get(file.key)))], gateway.settings.limits
        )


def test_the_name_of_an_upload_is_in_no_object_key(gateway):
    response = gateway.http.post("/v1/jobs", files={"files": ("/scans/DOE^JANE.png", png())})
    job_id = response.json()["id"]
    assert gateway.jobs.request(job_id).inputs[0].name == "DOE^JANE.png"
    assert not any("DOE" in key for key in gateway.job_keys())
    assert "DOE" not in response.text


def test_a_job_is_followed_from_the_queue_to_its_result(gateway):
    job = gateway.accepted()
    path = f"/v1/jobs/{job.id}"
    waiting = gateway.http.get(path)
    assert waiting.headers["Retry-After"] == "1"
    assert waiting.json()["queue_position"] >= 1
    begin(gateway.runner, job.id)
    gateway.runner.report_progress(job.id, 1, 4)
    running_ = gateway.http.get(path).json()
    assert (running_["status"], running_["progress"]) == ("running", {"done": 1, "total": 4})
    gateway.runner.fail(job.id, Problem(type="/problems/unusable-image", title="T", status=422, detail="D."))
    failed = gateway.http.get(path)
    assert (failed.json()["status"], failed.json()["problem"]["type"]) == ("failed", "/problems/unusable-image")
    assert "Retry-After" not in failed.headers


def test_a_long_poll_answers_as_soon_as_the_job_ends(gateway):
    job = gateway.accepted()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        poll = threads.submit(gateway.http.get, f"/v1/jobs/{job.id}?wait=30")
        time.sleep(0.5)
        assert not poll.done()
        gateway.succeed(job.id, np.zeros((1, 32, 32), bool), ("slice_0",))
        began = time.monotonic()
        assert poll.result(10).json()["status"] == "succeeded"
    assert time.monotonic() - began < 8


def test_a_long_poll_costs_the_store_nothing_while_the_job_is_open(gateway, monkeypatch):
    job, read, get = gateway.accepted(), [], gateway.store.get

    def counted(key):
        read.append(key)
        return get(key)

    monkeypatch.setattr(gateway.store, "get", counted)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        poll = threads.submit(gateway.http.get, f"/v1/jobs/{job.id}?wait=30")
        time.sleep(1)
        meanwhile = list(read)
        gateway.succeed(job.id, np.zeros((1, 32, 32), bool), ("slice_0",))
        assert poll.result(10).json()["status"] == "succeeded"
    assert (meanwhile, f"jobs/{job.id}/end.json" in read) == ([], True)


def test_a_long_poll_ends_after_its_wait(gateway):
    job = gateway.accepted()
    began = time.monotonic()
    assert gateway.http.get(f"/v1/jobs/{job.id}?wait=0.5").json()["status"] == "queued"
    assert 0.5 <= time.monotonic() - began < 8


def test_a_long_poll_of_a_job_that_is_deleted_meanwhile_is_404(gateway):
    job = gateway.accepted()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        poll = threads.submit(gateway.http.get, f"/v1/jobs/{job.id}?wait=30")
        time.sleep(0.3)
        gateway.jobs.delete(job.id)
        problem(poll.result(10), 404, "not-found")


@pytest.mark.parametrize("wait", ["61", "-1", "abc", "nan"])
def test_a_wrong_wait_is_refused(gateway, wait):
    job = gateway.accepted()
    problem(gateway.http.get(f"/v1/jobs/{job.id}", params={"wait": wait}), 422, "invalid-parameter")


def test_two_hundred_waiting_clients_do_not_delay_others(gateway, monkeypatch):
    """More clients than threads: others are answered at once, and all learn of the end."""
    monkeypatch.setattr(long_polls, "WAIT_STEP_S", 60.0)  # no thread frees itself
    waits = gateway.threads.waits
    job = gateway.accepted()

    async def crowd() -> list[str]:
        seen: list[str] = []
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(base_url=gateway.url, timeout=60, limits=limits) as http,
            anyio.create_task_group() as tasks,
        ):

            async def poll() -> None:
                seen.append((await http.get(f"/v1/jobs/{job.id}?wait=60")).json()["status"])

            for _ in range(200):
                tasks.start_soon(poll)
            while waits.borrowed_tokens + waits.statistics().tasks_waiting < 200:
                await anyio.sleep(0.05)
            began = time.monotonic()
            assert (await http.get("/v1/jobs")).status_code == 200
            assert (await http.get("/healthz")).status_code == 200
            assert time.monotonic() - began < 10
            await anyio.to_thread.run_sync(gateway.succeed, job.id, np.zeros((1, 32, 32), bool), ("slice_0",))
        return seen

    assert anyio.run(crowd) == ["succeeded"] * 200


def test_jobs_are_listed_newest_first_in_pages(gateway):
    accepted = [gateway.accepted().id for _ in range(3)]
    first = JobPage.model_validate(gateway.http.get("/v1/jobs?limit=2").json())
    second = JobPage.model_validate(gateway.http.get("/v1/jobs", params={"limit": 1, "cursor": first.next}).json())
    assert [job.id for job in first.jobs + second.jobs] == accepted[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", f"cursor={'x' * 201}"])
def test_a_wrong_page_is_refused(gateway, query):
    problem(gateway.http.get(f"/v1/jobs?{query}"), 422, "invalid-parameter")


def test_a_deleted_job_leaves_nothing(gateway):
    job = gateway.accepted()
    response = gateway.http.delete(f"/v1/jobs/{job.id}")
    assert (response.status_code, response.content) == (204, b"")
    problem(gateway.http.get(f"/v1/jobs/{job.id}"), 404, "not-found")
    problem(gateway.http.delete(f"/v1/jobs/{job.id}"), 404, "not-found")
    assert not any(job.id in key for key in gateway.job_keys())


@pytest.mark.parametrize("job_id", ["0" * 32, "unknown", "UPPER", "..", "%2e%2e%2fmodels", "a" * 100, "ä"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_job_is_404(gateway, job_id, method):
    problem(gateway.http.request(method, f"/v1/jobs/{job_id}"), 404, "not-found")


def test_the_same_key_and_files_are_the_same_job(gateway):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, second = (gateway.submit(png(5), headers=headers, threshold="0.5") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["Location"] == second.headers["Location"]
    assert len({key.split("/")[1] for key in gateway.job_keys()} & {first.json()["id"], second.json()["id"]}) == 1


@pytest.mark.parametrize("other", [{"data": png(6)}, {"threshold": "0.6"}, {"model": VERSION}])
def test_the_same_key_with_another_body_is_a_conflict(gateway, other):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    assert gateway.submit(png(5), headers=headers, threshold="0.5").status_code == 202
    before = gateway.job_keys()
    fields = {name: value for name, value in other.items() if name != "data"}
    response = gateway.submit(other.get("data", png(5)), headers=headers, **({"threshold": "0.5"} | fields))
    problem(response, 409, "idempotency-conflict")
    assert gateway.job_keys() == before


def test_the_same_key_sent_eight_times_at_once_is_one_job(gateway):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    before = {key.split("/")[1] for key in gateway.job_keys()}
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: gateway.submit(png(7), headers=headers), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({key.split("/")[1] for key in gateway.job_keys()} - before) == 1


def test_forty_submissions_at_once_are_forty_jobs(gateway):
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda seed: gateway.submit(png(seed), png(seed + 1)), range(40)))
    assert {answer.status_code for answer in answers} == {202}
    jobs = {answer.json()["id"] for answer in answers}
    assert len(jobs) == 40
    for seed, answer in enumerate(answers):
        keys = [file.key for file in gateway.jobs.request(answer.json()["id"]).inputs]
        assert [gateway.store.get(key) for key in keys] == [png(seed), png(seed + 1)]

"""Backpressure: a submission without room is refused before its body is read, with a sentence and a Retry-After."""

import hashlib
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from tests.gateways import png, promote_tiny, running, zipped
from tests.servers import wait_until

from metseg import formats
from metseg.errors import StorageFull
from metseg.jobs.broker import BASE_LIMIT_S, soft_limit_s
from metseg.settings import MIB, Settings

KEYS = ("greedy", "hungry", "hasty", "modest")
FEW = {"queue_limit": 3, "key_jobs_per_minute": 100, "key_open_jobs": 100}


@pytest.fixture
def gateway(request, redis, tmp_path):
    redis.flush()
    changes = FEW | getattr(request, "param", {})
    with running(Settings(store_directory=tmp_path, redis_url=redis.url, **changes)) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.fixture
def shared_gateway(request, redis, tmp_path):
    """A gateway with four API keys."""
    redis.flush()
    entries = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": ["submit", "read"]}
        for name in KEYS
    ]
    (tmp_path / "keys.json").write_text(json.dumps(entries))
    changes = {"key_jobs_per_minute": 1000, "api_keys_file": tmp_path / "keys.json"} | getattr(request, "param", {})
    with running(Settings(store_directory=tmp_path / "store", redis_url=redis.url, **changes)) as gateway:
        promote_tiny(gateway.store)
        yield gateway


def of(name):
    return {"Authorization": f"Bearer {name}"}


def refused(response, status, kind):
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"/problems/{kind}"
    assert int(response.headers["Retry-After"]) >= 1
    return response.json()["detail"]


def half_a_submission(gateway):
    """The gateway's whole answer to a submission of which it has only seen the headers."""
    with announced(gateway, 1_000_000) as connection:
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def announced(gateway, size):
    """A connection that has announced a submission of this size."""
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: gateway\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % size)
    return connection


def test_a_full_queue_refuses_before_the_upload_is_read(gateway):
    for _ in range(3):
        gateway.accepted()
    before = gateway.job_keys()
    assert "3 jobs are waiting" in refused(gateway.submit(png()), 503, "queue-full")
    answer = half_a_submission(gateway)
    assert answer.startswith("HTTP/1.1 503")
    assert "queue-full" in answer
    assert gateway.job_keys() == before


def test_a_queue_with_room_again_accepts_jobs_again(gateway):
    ids = [gateway.accepted().id for _ in range(3)]
    refused(gateway.submit(png()), 503, "queue-full")
    gateway.jobs.delete(ids[0])
    gateway.accepted()


@pytest.mark.parametrize("gateway", [{"key_jobs_per_minute": 2}], indirect=True)
def test_a_caller_that_submits_too_often_gets_a_retry_after(gateway):
    for _ in range(2):
        gateway.jobs.delete(gateway.accepted().id)
    response = gateway.submit(png())
    assert "2 studies per minute" in refused(response, 429, "too-many-requests")
    assert 1 <= int(response.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("gateway", [{"key_open_jobs": 2}], indirect=True)
def test_a_callers_open_jobs_are_limited(gateway):
    first = gateway.accepted()
    gateway.accepted()
    refused(gateway.submit(png()), 429, "too-many-requests")
    refused(gateway.http.post(f"/v1/jobs/{first.id}/repeat", json={}), 429, "too-many-requests")
    gateway.jobs.delete(first.id)
    gateway.accepted()


@pytest.mark.parametrize(
    "gateway",
    [{"key_open_jobs": 1}, {"key_jobs_per_minute": 1}, {"queue_limit": 1}],
    indirect=True,
    ids=lambda limits: next(iter(limits)),
)
def test_a_replay_is_answered_at_the_callers_limit(gateway):
    key = {"Idempotency-Key": "scan-7"}
    first = gateway.submit(png(), headers=key)
    assert first.status_code == 202
    before = gateway.job_keys()
    again = gateway.submit(png(), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert gateway.job_keys() == before
    assert gateway.submit(png(1), headers=key).status_code == 409
    assert gateway.submit(png(), headers={"Idempotency-Key": "scan-8"}).status_code in (429, 503)


def test_a_replay_is_answered_without_redis_champion_or_disk_space(gateway, redis, monkeypatch):
    key = {"Idempotency-Key": "scan-7"}
    first = gateway.submit(png(), headers=key)
    gateway.store.delete("models/champion.json")
    monkeypatch.setattr(type(gateway.store), "free_bytes", lambda self: 0)
    with redis.down():
        again = gateway.submit(png(), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


@pytest.mark.parametrize("gateway", [{"key_open_jobs": 2}], indirect=True)
def test_a_replay_of_a_job_deleted_meanwhile_needs_admission(gateway, monkeypatch):
    key = {"Idempotency-Key": "scan-7"}
    ids = [gateway.accepted().id, gateway.submit(png(), headers=key).json()["id"]]

    def replay(_, __, idempotency_key):
        if idempotency_key is None:
            return False
        gateway.jobs.delete(ids.pop())
        gateway.accepted()
        return True

    monkeypatch.setattr("metseg_api.submissions.is_replay", replay)
    refused(gateway.submit(png(), headers=key), 429, "too-many-requests")


def test_a_sliding_window_admits_its_limit_in_any_interval(gateway, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("metseg.jobs.rate_limit.time.time", lambda: now[0])

    def waits(at):
        now[0] = at
        return gateway.jobs.admit("tag", 2)

    assert [waits(at) for at in (1000, 1030, 1050, 1061, 1062)] == [0, 0, 10, 0, 28]


def test_counts_are_rebuilt_after_redis_lost_them(gateway, redis):
    job = gateway.accepted()
    redis.flush()
    assert gateway.jobs.queue_load("0" * 8).places == 0
    gateway.maintenance.recover()
    assert gateway.jobs.queue_load("0" * 8).places == 1
    gateway.jobs.delete(job.id)
    assert gateway.jobs.queue_load("0" * 8).places == 0


@pytest.mark.parametrize("gateway", [{"disk_reserve_bytes": 2**60}], indirect=True)
def test_a_nearly_full_disk_refuses_submissions(gateway):
    assert "disk space" in refused(gateway.submit(png()), 503, "storage-full")
    refused(gateway.http.get("/readyz"), 503, "storage-full")
    assert gateway.job_keys() == []
    assert StorageFull.status == 503


def test_uploads_in_flight_count_against_the_disk(redis, tmp_path):
    reserve = shutil.disk_usage(tmp_path).free - 600 * MIB
    settings = Settings(store_directory=tmp_path, redis_url=redis.url, disk_reserve_bytes=reserve)
    with running(settings) as gateway:
        promote_tiny(gateway.store)
        with announced(gateway, 200 * MIB) as first:  # 200 MiB each for spool and store, both on this disk
            wait_until(lambda: shutil.disk_usage(tmp_path).free < reserve + 300 * MIB, 10)
            with announced(gateway, 200 * MIB) as second:
                assert b"/problems/storage-full" in second.recv(65536)
            first.sendall(b"--x")
        wait_until(lambda: shutil.disk_usage(tmp_path).free > reserve + 500 * MIB, 10)
        gateway.accepted()


def test_a_body_of_unknown_size_takes_disk_space_as_it_comes(gateway, monkeypatch):
    def full(_):
        raise StorageFull("No room.")

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="1.png"\r\n\r\n'
        yield from [b"x" * MIB] * 8

    monkeypatch.setattr("metseg_api.routes.jobs.check_free_disk", full)
    media_type = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(gateway.http.post("/v1/jobs", content=body(), headers=media_type), 503, "storage-full")


def test_a_jobs_time_limit_grows_with_its_size_up_to_a_maximum():
    assert soft_limit_s(0, 1800) == BASE_LIMIT_S
    assert soft_limit_s(3 * MIB, 1800) == BASE_LIMIT_S + 180
    assert soft_limit_s(512 * MIB, 1800) == 1800
    assert soft_limit_s(0, 20) == 20


def test_a_message_carries_its_jobs_time_limits(gateway, redis):
    gateway.accepted()
    [message] = Redis.from_url(redis.url).lrange("metseg", 0, -1)
    assert json.loads(message)["headers"]["timelimit"] == [BASE_LIMIT_S + 660, BASE_LIMIT_S]


def test_a_study_that_no_worker_has_the_memory_for_is_refused_before_it_is_stored(gateway):
    accepted = gateway.accepted()  # no worker is known yet
    gateway.workers.heartbeat("large", 2**40)
    gateway.workers.heartbeat("small", 2**29)  # what a worker takes without a study
    response = gateway.submit(png())
    assert (response.status_code, response.json()["type"]) == (413, "/problems/study-too-large")
    assert "the worker has 0.5 GiB" in response.json()["detail"]
    assert {key.split("/")[1] for key in gateway.job_keys()} == {accepted.id}
    gateway.workers.heartbeat("small", 2**32)
    gateway.accepted()


@pytest.mark.parametrize("shared_gateway", [{"queue_limit": 16}], indirect=True)
def test_keys_that_submit_all_they_may_leave_room_for_another(shared_gateway):
    for name in KEYS[:3]:
        while (response := shared_gateway.submit(png(), headers=of(name))).status_code == 202:
            pass
        refused(response, 429, "too-many-requests")
    assert shared_gateway.submit(png(), headers=of("modest")).status_code == 202


@pytest.mark.parametrize("gateway", [{"key_open_jobs": 4, "queue_limit": 100}], indirect=True)
def test_open_jobs_are_weighed_by_slices(gateway, redis):
    long_study = zipped({f"{index}.png": png() for index in range(130)})  # three places
    first = gateway.submit(long_study)
    assert (first.status_code, first.json()["slices"]) == (202, 130)
    assert "3 of the 4 places" in refused(gateway.submit(long_study), 429, "too-many-requests")
    gateway.accepted()
    redis.flush()
    gateway.maintenance.recover()
    refused(gateway.submit(png()), 429, "too-many-requests")
    gateway.jobs.delete(first.json()["id"])
    gateway.accepted()


@pytest.mark.parametrize("gateway", [{"key_open_jobs": 2, "queue_limit": 100}], indirect=True)
def test_a_study_of_more_places_than_a_key_has_is_accepted_alone(gateway):
    long_study = zipped({f"{index}.png": png() for index in range(130)})
    job_id = gateway.submit(long_study).json()["id"]
    refused(gateway.http.post(f"/v1/jobs/{job_id}/repeat", json={}), 429, "too-many-requests")


def test_a_key_with_many_slow_uploads_does_not_delay_another(shared_gateway, monkeypatch):
    inspect, slow_name, resume = formats.inspect_upload, "slow.png", threading.Event()

    def inspect_slowly(uploads, *others):
        if uploads[0].name == slow_name:
            resume.wait(60)
        return inspect(uploads, *others)

    def post(name, file_name):
        parts = {"files": (file_name, png())}
        return shared_gateway.http.post("/v1/jobs", files=parts, headers=of(name), timeout=30).status_code

    monkeypatch.setattr(formats, "inspect_upload", inspect_slowly)
    with ThreadPoolExecutor(24) as clients:
        answers = [clients.submit(post, "greedy", slow_name) for _ in range(24)]
        wait_until(lambda: shared_gateway.threads.uploads.borrowed_tokens >= 6, 10)
        try:
            assert post("modest", "quick.png") == 202
            assert not any(answer.done() for answer in answers)
        finally:
            resume.set()
        assert {answer.result() for answer in answers} == {202}

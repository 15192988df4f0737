"""An unavailable store or queue: 503 with a Retry-After, nothing lost, nothing half written."""

import concurrent.futures
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.gateways import Gateway, png, problem, promote_tiny, running
from tests.models import VERSION
from tests.servers import RedisServer, S3Server, redis_server, s3_server, wait_until

from metseg.contracts import Champion
from metseg.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def queue(tmp_path_factory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("queue")) as server:
        yield server


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(queue, objects) -> Iterator[Gateway]:
    bucket = f"outages-{uuid.uuid4().hex}"
    where = Settings(**queue.settings(), **objects.settings(), s3_bucket=bucket, redis_timeout_s=1)
    with running(where) as gateway:
        promote_tiny(gateway.store)
        yield gateway


def ready_again(gateway: Gateway) -> None:
    """Wait until both answer; an S3 server that reports ready may need a moment more to accept an object."""
    wait_until(lambda: gateway.http.get("/readyz").status_code == 200, 30)
    wait_until(lambda: gateway.submit(png()).status_code == 202, 30)


def test_a_store_outage_accepts_nothing_and_loses_nothing(gateway, objects):
    job = gateway.accepted()
    with objects.down():
        refused = gateway.submit(png())
        problem(refused, 503, "store-unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        problem(gateway.http.get(f"/v1/jobs/{job.id}"), 503, "store-unavailable")
        assert "store" in problem(gateway.http.get("/readyz"), 503, "store-unavailable")
        assert gateway.http.get("/healthz").status_code == 200
    ready_again(gateway)
    assert gateway.http.get(f"/v1/jobs/{job.id}").json()["status"] == "queued"
    assert gateway.submit(png()).status_code == 202


@pytest.mark.parametrize("outage", [RedisServer.down, RedisServer.paused])
def test_a_queue_outage_accepts_nothing_and_loses_nothing(gateway, queue, outage: Callable):
    job = gateway.accepted()
    before = gateway.job_keys()
    with outage(queue):
        refused = gateway.submit(png())
        problem(refused, 503, "queue-unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert gateway.job_keys() == before
        assert gateway.http.get(f"/v1/jobs/{job.id}").json()["status"] == "queued"
        assert job.id in [each["id"] for each in gateway.http.get("/v1/jobs").json()["jobs"]]
        problem(gateway.http.get("/readyz"), 503, "queue-unavailable")
        assert "metseg_queue_depth" not in gateway.http.get("/metrics").text
    ready_again(gateway)
    assert gateway.submit(png()).status_code == 202
    gateway.succeed(job.id, np.ones((1, 32, 32), bool), ("slice_0",))


def test_a_key_whose_submission_failed_can_be_used_again(gateway, queue):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    with queue.down():
        problem(gateway.submit(png(), headers=headers), 503, "queue-unavailable")
    ready_again(gateway)
    first, second = (gateway.submit(png(), headers=headers) for _ in range(2))
    assert first.status_code == 202
    assert first.json()["id"] == second.json()["id"]


def test_results_are_served_while_the_queue_is_unavailable(gateway, queue):
    job = gateway.accepted()
    gateway.succeed(job.id, np.ones((1, 32, 32), bool), ("slice_0",))
    with queue.down():
        assert gateway.http.get(f"/v1/jobs/{job.id}").json()["status"] == "succeeded"
        assert gateway.http.get(f"/v1/jobs/{job.id}/mask?format=png").status_code == 200
    ready_again(gateway)


def test_submissions_during_an_outage_are_accepted_whole_or_not_at_all(gateway, queue):
    before = {key.split("/")[1] for key in gateway.job_keys()}
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        sending = [threads.submit(gateway.submit, png(seed)) for seed in range(60)]
        with queue.down():
            wait_until(lambda: sum(each.done() for each in sending) > 30, 60)
        answers = [each.result(60) for each in sending]
    kept = gateway.job_keys()
    ready_again(gateway)
    assert {answer.status_code for answer in answers} <= {202, 503}
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert {key.split("/")[1] for key in kept} - before == accepted


def test_readiness_names_store_and_queue_if_both_are_unavailable(gateway, queue, objects):
    with queue.down(), objects.down():
        detail = problem(gateway.http.get("/readyz"), 503, "unavailable")
        assert "queue" in detail
        assert "store" in detail
    ready_again(gateway)


def test_without_a_champion_only_a_submission_that_names_its_model_is_accepted(gateway):
    kept = Champion.model_validate_json(gateway.store.get("models/champion.json"))
    gateway.store.delete("models/champion.json")
    try:
        problem(gateway.submit(png()), 503, "no-champion")
        problem(gateway.http.get("/readyz"), 503, "no-champion")
        assert gateway.submit(png(), model=VERSION).status_code == 202
    finally:
        gateway.store.put("models/champion.json", kept.model_dump_json().encode())
    assert gateway.http.get("/readyz").json()["status"] == "ready"


def test_a_damaged_champion_is_reported_before_a_job_meets_it(gateway):
    key = f"models/{VERSION}/model.onnx"
    kept = gateway.store.get(key)
    gateway.store.put(key, b"damaged")
    try:
        assert "damaged" in problem(gateway.http.get("/readyz"), 503, "no-champion")
    finally:
        gateway.store.put(key, kept)
    assert gateway.http.get("/readyz").json()["status"] == "ready"

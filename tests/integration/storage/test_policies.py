"""The policies in infra/store on a real S3: each key can do what its service does, and nothing more."""

import logging
from contextlib import ExitStack
from datetime import UTC, datetime
from io import BytesIO

import pytest
from minio import Minio
from minio.error import S3Error
from tests.gateways import begin, promote_tiny
from tests.integration.deployments import ARTEFACTS, result_of, upload
from tests.models import VERSION, tiny_card, tiny_model
from tests.servers import s3_server

from metseg.errors import StoreUnavailable
from metseg.jobs import JobFactory, TrainingStudies
from metseg.jobs.store import JobStore
from metseg.registry import Registry
from metseg.settings import Settings
from metseg.storage import ObjectPart, S3Store, open_store
from metseg_worker.store_users import SERVICES, policy, write_keys

USERS = (*SERVICES, "setup")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    policies = {f"metseg-{each}": policy(each, "metseg") for each in USERS}
    with s3_server(tmp_path_factory.mktemp("policies"), policies) as server:
        open_store(Settings(**server.settings())).prepare(7)
        promote_tiny(open_store(Settings(**server.settings())))
        yield server


@pytest.fixture
def settings(server, redis):
    def of(service):
        return Settings(**server.settings() | {"s3_access_key": f"metseg-{service}", "redis_url": redis.url})

    return of


@pytest.fixture
def store(settings):
    return lambda service: open_store(settings(service))


@pytest.fixture
def jobs(settings, store, redis):
    redis.flush()
    with ExitStack() as stack:

        def of(service):
            at_redis = settings(service).model_copy(update={"redis_url": redis.url, "redis_timeout_s": 2.0})
            return stack.enter_context(JobFactory(at_redis, store(service)))

        yield of


def test_a_job_lives_and_is_deleted_with_the_keys_of_gateway_and_worker(jobs, store):
    gateway, worker = jobs("gateway").service(), jobs("worker").runner()
    job = gateway.submit(upload(gateway))
    request = begin(worker, job.id)
    assert store("worker").get(request.inputs[0].key) == b"pixels"
    worker.finish(job.id, result_of(job.id), ARTEFACTS)
    assert gateway.result(job.id).job_id == job.id
    assert gateway.page(10, None).jobs[0].id == job.id
    assert gateway.acquire_key("key", "body", job.id) == gateway.acquire_key("key", "body", "0" * 32) == job.id
    gateway.discard(job.id, "key")
    jobs("worker").maintenance().expire()
    assert list(store("gateway").list(f"jobs/{job.id}")) == []


def test_the_worker_expires_and_recovers_jobs_and_reads_models(jobs, store):
    gateway = jobs("gateway").service()
    job = gateway.submit(upload(gateway))
    jobs("worker").maintenance().recover()
    JobStore(store("worker")).delete(job.id)
    assert list(store("worker").list(f"jobs/{job.id}")) == []
    assert Registry(store("worker")).load(VERSION)


def test_the_gateway_promotes_and_the_trainer_publishes_promotes_and_stores_runs(store):
    model = tiny_model(2.0)
    registry = Registry(store("trainer"))
    registry.publish(tiny_card(model, "20260303-000000-more"), {"model.onnx": model})
    registry.promote("20260303-000000-more")
    store("trainer").put("runs/one/results.json", b"{}")
    assert Registry(store("gateway")).promote(VERSION).version == VERSION


def test_the_set_up_creates_the_bucket_and_seeds_a_model(store):
    store("setup").prepare(3)
    registry, model = Registry(store("setup")), tiny_model(3.0)
    registry.publish(tiny_card(model, "20260404-000000-seed"), {"model.onnx": model})


JOB = "jobs/0123456789abcdef0123456789abcdef"
FORBIDDEN = {
    "gateway": [
        "models/a/model.onnx",
        "models/a/card.json",
        "runs/a/b",
        f"{JOB}/end.json",
        "store.json",
        "maintenance/a",
        "elsewhere",
    ],
    "worker": [
        "keys/a",
        "training/a/000001/study.json",
        f"{JOB}/input/0000",
        f"{JOB}/request.json",
        "models/champion.json",
        "models/a/model.onnx",
        "runs/a/b",
        "store.json",
    ],
    "trainer": [f"{JOB}/input/0000", f"open/{JOB[5:]}", "store.json", "training/a/000001/study.json", "elsewhere"],
    "setup": [f"{JOB}/input/0000", "runs/a/b"],
}


@pytest.mark.parametrize(("service", "key"), [(service, key) for service, keys in FORBIDDEN.items() for key in keys])
def test_a_key_can_write_only_what_its_service_writes(store, service, key):
    with pytest.raises(StoreUnavailable, match="refused"):
        store(service).put(key, b"1")


@pytest.mark.parametrize(("service", "key"), [("trainer", f"{JOB}/input/0000"), ("setup", f"{JOB}/input/0000")])
def test_a_key_can_read_only_its_services_patients(server, store, service, key):
    open_store(Settings(**server.settings())).put(key, b"pixels")
    with pytest.raises(StoreUnavailable, match="refused"):
        store(service).get(key)


def test_the_trainer_reads_the_copies_that_the_gateway_writes_and_not_the_secret_of_their_names(store):
    store("gateway").put(f"{JOB}/slices.zip", b"slices")
    written, read = TrainingStudies(store("gateway")), TrainingStudies(store("trainer"))
    written.deposit("job", 1, ObjectPart(f"{JOB}/slices.zip"), {"whole": b"mask"})
    description = {"review": 1, "model_version": VERSION, "roles": ["flair"], "structures": ["whole"]}
    written.release("job", "ward-7", description)
    [study] = read.studies()
    assert store("trainer").get(f"{study.key}/whole.nii.gz") == b"mask"
    with pytest.raises(StoreUnavailable, match="refused"):
        store("trainer").get("site/training-key")
    written.delete("job")
    assert list(read.studies()) == []


def test_the_trainer_lists_models_and_runs_but_no_job(server, store):
    open_store(Settings(**server.settings())).put(f"{JOB}/input/0000", b"pixels")
    store("trainer").put("runs/two/results.json", b"{}")
    assert "runs/two/results.json" in [each.key for each in store("trainer").list("runs/")]
    assert Registry(store("trainer")).load(VERSION)
    for prefix in ("jobs/", "", f"{JOB}/"):
        with pytest.raises(StoreUnavailable, match="refused"):
            list(store("trainer").list(prefix))


@pytest.mark.parametrize("service", USERS)
def test_no_key_removes_a_model(server, store, service):
    with pytest.raises(StoreUnavailable):
        store(service).delete(f"models/{VERSION}")
    assert Registry(open_store(Settings(**server.settings()))).load(VERSION)


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_can_create_a_bucket_or_change_the_lifecycle(server, service):
    client = Minio(server.endpoint, f"metseg-{service}", server.secret_key, secure=False)
    with pytest.raises(S3Error, match="AccessDenied"):
        client.make_bucket("another")
    with pytest.raises(S3Error, match="AccessDenied"):
        client.delete_bucket_lifecycle("metseg")


def test_a_server_without_the_admin_api_is_detected_and_not_changed(server, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    client = Minio(server.endpoint, server.access_key, server.secret_key, secure=False)
    before = client.list_buckets()
    write_keys(Settings(**server.settings()), tmp_path)
    assert "share the set-up's key" in caplog.text
    assert client.list_buckets() == before
    for service in SERVICES:
        handed = [(tmp_path / service / name).read_text() for name in ("access-key", "secret-key")]
        assert handed == [server.access_key, server.secret_key]


def test_a_services_key_can_write_a_large_object_in_parts(server, settings):
    store: S3Store = open_store(settings("gateway"))
    store.put(f"{JOB}/input/0001", BytesIO(bytes(17 * 2**20)))
    assert store.stat(f"{JOB}/input/0001").size == 17 * 2**20
    assert datetime.now(UTC) > store.stat(f"{JOB}/input/0001").modified

"""Security, privacy and monitoring of a deployment: containers, networks, logs, object names, deletion, alerts."""

import io
import json
import subprocess
import time
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.e2e.deployment import Deployment
from tests.fuzz.corpus import corpus

from metseg import phantom
from metseg.client import Client
from metseg.contracts import JobStatus

PLANTED = ("PLANTED^JOHANNA", "MRN-5550199")
"""A patient's name and number, as in the file names of a hospital's export."""

REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("reached")
except OSError as error:
    print(type(error).__name__)
"""
KEYS = """
from metseg.storage import open_store
from metseg.settings import settings
print("\\n".join(info.key for info in open_store(settings()).list("")))
"""
LIFECYCLE = """
from metseg.storage import open_store
from metseg.settings import settings
for rule in open_store(settings())._client.get_bucket_lifecycle("metseg").rules:
    print(rule.status, rule.rule_filter.prefix, rule.expiration.days)
"""


def python(deployment: Deployment, service: str, code: str, *arguments: str) -> str:
    return deployment.compose("exec", "-T", service, "python", "-c", code, *arguments).strip()


def inspected(deployment: Deployment) -> dict[str, Any]:
    """`docker inspect` of each container of the deployment, by service."""
    ids = deployment.compose("--profile", "*", "ps", "--all", "--quiet").split()
    containers = json.loads(subprocess.run(["docker", "inspect", *ids], stdout=subprocess.PIPE, check=True).stdout)
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in containers}


def until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture(scope="module")
def watched(deployment: Deployment) -> str:
    """The URL of Prometheus."""
    deployment.compose("--profile", "watch", "up", "--detach", "prometheus")
    return f"http://127.0.0.1:{deployment.prometheus_port}/api/v1"


# Containers and networks


def test_no_container_runs_as_root_or_can_become_root_or_write_elsewhere(deployment: Deployment, watched: str) -> None:
    containers = inspected(deployment)
    assert {"api", "worker", "ui", "redis", "store", "prometheus"} <= set(containers)
    for service, each in containers.items():
        host = each["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert not host["Privileged"], service
        assert 0 < host["PidsLimit"] <= 1024, service
        assert host["Memory"] > 0, service
        assert host["NanoCpus"] > 0, service
        assert each["Config"]["User"].split(":")[0] not in {"", "0", "root"}, service


def test_only_page_gateway_and_prometheus_are_published_and_on_loopback_alone(
    deployment: Deployment, watched: str
) -> None:
    published = {
        (service, binding["HostIp"])
        for service, each in inspected(deployment).items()
        for bindings in each["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }
    assert published == {("api", "127.0.0.1"), ("ui", "127.0.0.1"), ("prometheus", "127.0.0.1")}


@pytest.mark.parametrize(
    ("host", "port"), [("redis", "6379"), ("store", "9000"), ("worker", "22"), ("prometheus", "9090")]
)
def test_the_page_reaches_neither_queue_nor_store(deployment: Deployment, host: str, port: str) -> None:
    assert python(deployment, "ui", REACH, host, port) != "reached"


@pytest.mark.parametrize(
    ("service", "host", "port"),
    [("ui", "api", "8000"), ("worker", "redis", "6379"), ("worker", "store", "9000"), ("api", "store", "9000")],
)
def test_services_that_work_together_reach_each_other(
    deployment: Deployment, service: str, host: str, port: str
) -> None:
    assert python(deployment, service, REACH, host, port) == "reached"


def test_queue_and_store_have_no_way_out(deployment: Deployment) -> None:
    for network in ("queue", "objects"):
        command = ["docker", "network", "inspect", "--format", "{{.Internal}}", f"{deployment.name}_{network}"]
        assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip() == "true"


# Privacy


def planted_study() -> bytes:
    study = phantom.head(3, slices=3, lesions=1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for number, pixels in enumerate(study.volume.pixels):
            image = io.BytesIO()
            Image.fromarray(pixels).save(image, "PNG")
            packed.writestr(f"{PLANTED[0]}/{PLANTED[1]}_{number}.png", image.getvalue())
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_patient_data_reach_no_log_object_name_or_metric_and_a_deleted_job_leaves_nothing(
    deployment: Deployment, client: Client
) -> None:
    name = f"{PLANTED[0]}_{PLANTED[1]}"
    jobs = [client.submit([(f"{name}.zip", planted_study())], idempotency_key=name)]
    jobs.append(client.submit([(f"{name}.png", png(np.full((64, 64), 9, np.uint8)))]))  # fails in the worker
    jobs.append(client.submit([(f"{name}.dcm.zip", corpus()["zip-of-dicom"])]))  # its headers have both
    ended = [client.job(job.id, wait_s=60) for job in jobs]
    assert [job.status for job in ended] == [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.SUCCEEDED]
    sent = [
        httpx.post(f"{deployment.api_url}/v1/jobs", files={"files": (f"{name}.png", b"no picture")}),
        httpx.post(f"{deployment.api_url}/v1/jobs?patient={PLANTED[1]}", files={PLANTED[0]: ("x", b"1")}),
        httpx.get(f"{deployment.api_url}/v1/jobs/{PLANTED[1]}"),
        httpx.get(f"{deployment.api_url}/{PLANTED[0]}"),
    ]
    assert {each.status_code // 100 for each in sent} == {4}
    client.result(jobs[0].id)
    client.mask(jobs[0].id, "zip")
    keys = python(deployment, "worker", KEYS)
    assert jobs[0].id in keys
    for job in jobs:
        client.delete(job.id)
    left = python(deployment, "worker", KEYS)
    assert not [key for key in left.splitlines() for job in jobs if job.id in key]
    written = deployment.logs("all") + keys + httpx.get(f"{deployment.api_url}/metrics").text
    assert jobs[0].id in written, "the logs are those of this run"
    written += deployment.compose("exec", "-T", "redis", "redis-cli", "--scan")
    assert not [word for word in (*PLANTED, "JOHANNA", "5550199") if word in written]
    assert "metseg-inside-compose-only" not in written, "the store's password"


def lines(deployment: Deployment, service: str) -> list[dict[str, Any]]:
    """The lines of a service's log that are JSON."""
    text = deployment.compose("logs", "--no-color", "--no-log-prefix", service)
    return [json.loads(line[line.index("{") :]) for line in text.splitlines() if "{" in line]


def test_one_request_id_is_in_the_logs_of_gateway_and_worker(deployment: Deployment, client: Client) -> None:
    pixels = phantom.head(5, slices=1, lesions=1).volume.pixels[0]
    sent = httpx.post(f"{deployment.api_url}/v1/jobs", files={"files": ("1.png", png(pixels))})
    request_id, job_id = sent.headers["X-Request-ID"], sent.json()["id"]
    assert client.job(job_id, wait_s=60).status is JobStatus.SUCCEEDED
    [asked] = [line for line in lines(deployment, "api") if line.get("request_id") == request_id]
    assert (asked["message"], asked["job"]) == ("request", job_id)
    worked = [line["message"] for line in lines(deployment, "worker") if line.get("request_id") == request_id]
    assert {"job begun", "job ended"} <= set(worked)


def test_each_access_is_logged_with_caller_job_and_time(deployment: Deployment, client: Client) -> None:
    job = client.submit([("1.png", png(np.full((64, 64), 9, np.uint8)))])
    client.job(job.id, wait_s=60)
    client.delete(job.id)
    mine = [line for line in lines(deployment, "api") if line.get("job") == job.id]
    assert {"POST", "GET", "DELETE"} <= {line["method"] for line in mine}
    assert all({"time", "key", "route", "status"} <= set(line) for line in mine)


def test_the_buckets_lifecycle_rule_expires_jobs(deployment: Deployment) -> None:
    assert "Enabled jobs/ 37" in python(deployment, "worker", LIFECYCLE).splitlines()


# Monitoring


def test_prometheus_scrapes_the_gateway_and_has_the_alerts(
    deployment: Deployment, watched: str, client: Client
) -> None:
    def value(query: str) -> float | None:
        answer = httpx.get(f"{watched}/query", params={"query": query}).json()["data"]["result"]
        return float(answer[0]["value"][1]) if answer else None

    def ready() -> bool:
        try:
            return value('up{job="metseg"}') == 1 and value("metseg_workers") == 1
        except httpx.TransportError:
            return False

    until(ready, 90)
    assert value("metseg_redis_up") == value("metseg_store_up") == 1
    assert value("count(metseg_champion_info)") == 1
    assert (value('metseg_jobs_ended_total{outcome="succeeded"}') or 0) >= 1
    assert len(alerts(watched)) >= 14
    until(lambda: all(rule["health"] == "ok" for rule in alerts(watched)), 60)
    assert not [rule["name"] for rule in alerts(watched) if rule["state"] == "firing" and pages(rule)]


def alerts(watched: str) -> list[dict[str, Any]]:
    groups = httpx.get(f"{watched}/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def pages(rule: dict[str, Any]) -> bool:
    """Whether an alert pages someone."""
    return rule["labels"]["severity"] == "page"


def test_the_alerts_pass_promtools_tests(deployment: Deployment, watched: str) -> None:
    out = deployment.compose("exec", "-T", "prometheus", "promtool", "test", "rules", "/etc/prometheus/rules_test.yml")
    assert "SUCCESS" in out

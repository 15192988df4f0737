"""Properties of images and services that no Dockerfile linter checks."""

import re
from pathlib import Path

import pytest
import yaml

from metseg.jobs import celery_app
from metseg.settings import Settings
from metseg_worker.app import celery

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TLS = (ROOT / "docker-compose.tls.yml").read_text()
S3 = yaml.safe_load((ROOT / "docker-compose.s3.yml").read_text().replace("!reset ", ""))
SERVED = ("inference-api", "worker", "ui")


@pytest.mark.parametrize("service", SERVED)
def test_every_image_that_serves_has_a_health_check(service):
    assert "\nHEALTHCHECK " in (ROOT / f"services/{service}/Dockerfile").read_text()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_confined(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 1024
    assert service["mem_limit"]
    assert "cpus" in service
    assert "privileged" not in service
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in str(volume)]


def test_the_stop_grace_period_exceeds_the_workers_soft_shutdown():
    assert "\nSTOPSIGNAL SIGQUIT\n" in (ROOT / "services/worker/Dockerfile").read_text()
    grace_s = int(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= 2 * celery_app(Settings()).conf.worker_soft_shutdown_timeout > 0


def test_a_workers_child_is_replaced_below_the_containers_memory_limit():
    default_gib = int(
        COMPOSE["services"]["worker"]["mem_limit"].removeprefix("${METSEG_WORKER_MEMORY:-").removesuffix("g}")
    )
    conf = celery.conf
    assert (conf.worker_pool, conf.worker_concurrency) == ("prefork", 1)
    assert 0 < conf.worker_max_memory_per_child * 2**10 <= default_gib * 2**30 / 2


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.tls.yml"])
def test_every_image_is_pinned_by_a_full_version(name):
    text = (ROOT / name).read_text()
    images = re.findall(r"^    image: (?:\$\{\w+:-)?([^}\s]+)", text, re.MULTILINE)
    assert len(images) == len(re.findall(r"\bimage:", text))
    assert [image for image in images if not re.search(r":(v?\d+\.\d+\.\d+|RELEASE\.[\dTZ-]+)(-\w+)?$", image)] == []


def test_another_s3_server_takes_the_place_of_the_bundled_store():
    for name in ("setup", "api", "worker", "trainer"):
        environment = COMPOSE["services"][name]["environment"]
        assert environment["METSEG_S3_ENDPOINT"] == "${METSEG_S3_ENDPOINT:-store:9000}"
        assert "METSEG_S3_BUCKET" in environment
    waiting_for_the_store = {name for name, one in COMPOSE["services"].items() if "store" in one.get("depends_on", {})}
    assert waiting_for_the_store == {name for name, one in S3["services"].items() if one.get("depends_on") == {}}
    for name in ("store", "store-owner", "store-key"):
        assert S3["services"][name]["profiles"] not in [one.get("profiles") for one in COMPOSE["services"].values()]
    for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY"):
        assert S3["services"]["setup"]["environment"][f"METSEG_S3_{name}"].startswith(f"${{METSEG_S3_{name}:?")
    assert S3["networks"]["objects"] == {"internal": False}


def test_page_queue_and_store_share_no_network():
    on = {name: set(service.get("networks", [])) for name, service in COMPOSE["services"].items()}
    for hidden in ("redis", "store"):
        assert not on["ui"] & on[hidden]
        assert not on["prometheus"] & on[hidden]
        assert all((COMPOSE["networks"][network] or {}).get("internal") for network in on[hidden])


def test_ports_are_published_on_loopback_by_default():
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${METSEG_API_ADDRESS:-127.0.0.1}:")), name


def test_no_service_has_a_secret_in_its_environment():
    for name in ("api", "worker", "trainer"):
        environment = COMPOSE["services"][name]["environment"]
        assert not {"METSEG_S3_ACCESS_KEY", "METSEG_S3_SECRET_KEY"} & set(environment), name
        assert environment["METSEG_S3_SECRET_KEY_FILE"] == "/credentials/secret-key"


def test_with_tls_only_caddy_is_published_and_the_gateway_requires_keys():
    assert TLS.count("ports: !reset []") == 2
    assert "METSEG_API_ADDRESS: ${METSEG_API_ADDRESS:-0.0.0.0}" in TLS
    assert "${METSEG_PAGE_HASH:?" in TLS, "no password by default"


def test_names_of_the_site_reach_page_and_gateway_and_with_tls_the_page_knows_its_name():
    for name in ("api", "ui"):
        assert "METSEG_HOSTS" in COMPOSE["services"][name]["environment"]
    assert "METSEG_HOSTS: ${METSEG_HOSTS:-},${METSEG_SITE:-localhost}" in TLS


def test_the_report_shows_in_the_page_behind_tls():
    assert "X-Frame-Options SAMEORIGIN" in (ROOT / "infra/caddy/Caddyfile").read_text()

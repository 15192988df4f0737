"""The root key of the bundled store: random, kept, and seen by the store and the set-up alone."""

import os
import stat
import subprocess
from pathlib import Path

import yaml

from metseg.settings import Settings
from metseg_worker.root_key import main, write_root_key
from metseg_worker.store_users import read_key

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_every_deployment_has_another_random_key_and_keeps_it(tmp_path, monkeypatch):
    monkeypatch.delenv("METSEG_S3_SECRET_KEY", raising=False)
    for name in ("one", "other"):
        assert main([str(tmp_path / name)]) == 0
    one, other = read_key(tmp_path / "one"), read_key(tmp_path / "other")
    assert one[1] != other[1] and len(one[1]) >= 32
    main([str(tmp_path / "one")])
    assert read_key(tmp_path / "one") == one
    for each in (tmp_path / "one").iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_a_key_in_the_settings_takes_the_place_of_the_random_one(tmp_path):
    write_root_key(Settings(), tmp_path)
    write_root_key(Settings(s3_access_key="chosen", s3_secret_key="chosen-secret"), tmp_path)
    assert read_key(tmp_path) == ("chosen", "chosen-secret")
    write_root_key(Settings(), tmp_path)
    assert read_key(tmp_path) == ("chosen", "chosen-secret")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file" / "below")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_root_key_is_seen_by_the_store_and_the_set_up_alone():
    mounts = {
        name: [volume for volume in service.get("volumes", []) if volume.startswith("root-key:")]
        for name, service in COMPOSE.items()
    }
    assert {name: volumes for name, volumes in mounts.items() if volumes} == {
        "store-key": ["root-key:/root-key"],
        "store": ["root-key:/root-key:ro,nocopy"],
        "setup": ["root-key:/root-key:ro"],
    }
    named = {name for name, service in COMPOSE.items() if "METSEG_S3_SECRET_KEY" in service.get("environment", {})}
    assert named == {"store-key"}
    assert COMPOSE["store-key"]["network_mode"] == "none"
    assert "inside-compose-only" not in (ROOT / "docker-compose.yml").read_text()


def test_the_store_and_the_set_up_wait_for_the_root_key():
    done = {"condition": "service_completed_successfully"}
    assert COMPOSE["store"]["depends_on"]["store-key"] == done
    assert "store" in COMPOSE["setup"]["depends_on"]
    assert COMPOSE["setup"]["environment"]["METSEG_S3_SECRET_KEY_FILE"] == "/root-key/secret-key"


def test_the_store_starts_with_the_root_key(tmp_path):
    """Its entrypoint, with a store that prints what it is given."""
    write_root_key(Settings(), tmp_path / "key")
    server = tmp_path / "bin" / "docker-entrypoint.sh"
    server.parent.mkdir()
    server.write_text('#!/bin/sh\necho "$MINIO_ROOT_USER $MINIO_ROOT_PASSWORD $*"\n')
    server.chmod(0o755)
    store = COMPOSE["store"]
    shell = [each.replace("$$", "$").replace("/root-key/", f"{tmp_path}/key/") for each in store["entrypoint"]]
    environment = {"PATH": f"{server.parent}:{os.environ['PATH']}"}
    printed = subprocess.run([*shell, *store["command"]], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [*read_key(tmp_path / "key"), "server", "/data"]

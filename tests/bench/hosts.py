"""Several hosts on one machine for a bench: network namespaces with addresses, cables that can be cut, and services.

    with deployment(folder) as central, central.workers("w1", "w2") as hosts:
        Client(central.url, api_key=central.api_key)

Gateway, Redis and store share the host `central`, whose bridge is the switch. Each worker host has an address, a host
name, a cable to the switch, and one worker. The bench itself is one more host. Needs root and iproute2.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import redis
from tests.bench.site import LIMITS, ROOT
from tests.bench.worker_log import Attempt, attempts, queued_again
from tests.servers import RedisServer, S3Server, free_ports, wait_until

from metseg.jobs import celery_app
from metseg.jobs.broker import QUEUE
from metseg.settings import Settings
from metseg.storage import S3Store

__all__ = ["Central", "Host", "deployment"]

IP = shutil.which("ip") or "/usr/sbin/ip"
CENTRAL = "metseg-central"
SWITCH = "switch"
SWITCH_MAC = "02:00:00:00:00:01"
"""A bridge would otherwise take that of one of its ports, and change it when a host is removed."""
CENTRAL_ADDRESS, BENCH_ADDRESS = "198.18.0.1", "198.18.0.2"  # of a network that is reserved for benches (RFC 2544)
FIRST_WORKER = 11
OWN_PROCESSES = ("unshare", "--pid", "--fork", "--kill-child")
"""Prefix of a command that is killed with all its children, as a container is."""
FOREVER = 'hostname "$0"; while :; do "$@"; sleep 1; done'
"""Restarts a worker that has ended, as the restart policy of the deployment does."""
WORKER = ("celery", "--quiet", "-A", "metseg_worker.app", "worker", "--loglevel", "INFO")
ROUND_TRIP = """
import socket, statistics, sys, time
def connect():
    began = time.perf_counter()
    socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
    return time.perf_counter() - began
print(statistics.median(connect() for _ in range(15)))
"""
START_S = 60.0


class Redis(RedisServer):
    """Redis on the central host, with a password and the deployment's keep-alive."""

    password = secrets.token_urlsafe(24)

    def command(self) -> list[str]:
        own = ["--bind", CENTRAL_ADDRESS, "--requirepass", self.password, "--tcp-keepalive", "60"]
        return [*_inside(CENTRAL), *OWN_PROCESSES, *super().command(), *own]

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{CENTRAL_ADDRESS}:{self.port}/0"


class Store(S3Server):
    """The store on the central host."""

    def command(self) -> list[str]:
        own = [f"-ip={CENTRAL_ADDRESS}", f"-ip.bind={CENTRAL_ADDRESS}"]
        return [*_inside(CENTRAL), *OWN_PROCESSES, *super().command(), *own]

    def ready(self) -> bool:
        return _answers(f"http://{self.endpoint}/healthz")

    @property
    def endpoint(self) -> str:
        return f"{CENTRAL_ADDRESS}:{self.port}"


class Host:
    """A worker host: a network namespace with an address, whose cable leads to the switch.

    Args:
        name: of the host.
        number: among the worker hosts, from 0.
        environment: of its worker.
        folder: for its log and its temporary files.
    """

    def __init__(self, name: str, number: int, environment: Mapping[str, str], folder: Path) -> None:
        self.name, self.address = name, f"198.18.0.{FIRST_WORKER + number}"
        self._namespace = f"metseg-{name}"
        self._spool, self._log = folder / name, folder / f"{name}.log"
        self._environment = {**environment, "TMPDIR": str(self._spool)}
        self._relay: subprocess.Popen[str] | None = None
        self._worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the host, and start its worker as the deployment does."""
        self._spool.mkdir(exist_ok=True)
        self._log.write_bytes(b"")
        _ip("netns", "add", self._namespace)
        self._lay_cable()
        _ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", f"{self.name}-near")
        for device in ("lo", f"{self.name}-near"):
            _ip("-n", self._namespace, "link", "set", device, "up")
        _ip("-n", CENTRAL, "link", "set", f"{self.name}-far", "master", SWITCH, "up")
        worker = [sys.executable, "-m", *WORKER, "--without-gossip", "--without-mingle"]
        command = [*_inside(self._namespace), "unshare", "--uts", "sh", "-c", FOREVER, self.name, *OWN_PROCESSES]
        with self._log.open("ab") as log:
            self._worker = subprocess.Popen(
                [*command, *worker], cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _lay_cable(self) -> None:
        near, far = f"{self.name}-near", f"{self.name}-far"
        relay = [sys.executable, "-m", "tests.bench.relay", near, far]
        self._relay = subprocess.Popen(relay, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._relay.stdout is not None and self._relay.stdout.readline() == "ready\n", "no TAP devices"
        _ip("link", "set", near, "netns", self._namespace)
        _ip("link", "set", far, "netns", CENTRAL)

    def set_latency(self, seconds: float) -> None:
        """Let each frame take so long on the cable, in each direction."""
        assert self._relay is not None and self._relay.stdin is not None
        print(seconds, file=self._relay.stdin, flush=True)

    def cut_off(self) -> None:
        """Switch the port of its cable off: nothing comes through, and nobody is notified."""
        _ip("-n", CENTRAL, "link", "set", f"{self.name}-far", "down")

    def give_back(self) -> None:
        """Switch the port of its cable on again."""
        _ip("-n", CENTRAL, "link", "set", f"{self.name}-far", "up")

    def die(self) -> None:
        """Lose its network and all its processes at once, as in a power cut."""
        self.cut_off()
        self._kill()

    def remove(self) -> None:
        """Kill its processes and delete it, however far it was made."""
        self._kill()
        if self._relay is not None:
            self._relay.kill()
            self._relay.communicate()
        _delete_namespace(self._namespace)

    def _kill(self) -> None:
        if self._worker is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._worker.wait()

    def round_trip_s(self, port: int) -> float:
        """The median time in which a TCP connection from here to the central host is made."""
        command = [*_inside(self._namespace), sys.executable, "-c", ROUND_TRIP, CENTRAL_ADDRESS, str(port)]
        return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    def attempts(self) -> list[Attempt]:
        """Its attempts at jobs so far."""
        return attempts(self._log.read_text(errors="replace"))

    def queued_again(self) -> dict[str, float]:
        """When its worker first queued each job again that was lost, by id."""
        return queued_again(self._log.read_text(errors="replace"))


class Central:
    """The host of gateway, Redis and store.

    Args:
        folder: for data and logs.
        port: of the gateway.
    """

    def __init__(self, folder: Path, port: int) -> None:
        (folder / "s3").mkdir()
        self.url, self.api_key = f"http://{CENTRAL_ADDRESS}:{port}", secrets.token_urlsafe(32)
        self.redis, self.s3 = Redis(folder / "redis", free_ports(1)[0]), Store(folder / "s3", free_ports(8))
        self._folder, self._port = folder, port
        paths = ("shared", "services/inference-api", "services/worker")
        self._environment = os.environ | self.redis.environment() | self.s3.environment() | LIMITS
        self._environment |= {"PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in paths), "METSEG_THREADS": "1"}

    @property
    def store(self) -> S3Store:
        """The store, for the bench."""
        return S3Store(self.s3.endpoint, "metseg", access_key=self.s3.access_key, secret_key=self.s3.secret_key)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Set up and running within the block."""
        with ExitStack() as stack:
            for server in (self.redis, self.s3):
                stack.callback(server.kill)
                server.start()
            setup = [*_inside(CENTRAL), sys.executable, "-m", "metseg_worker.setup"]
            subprocess.run(setup, cwd=ROOT, env=self._environment, check=True, stderr=subprocess.DEVNULL)
            stack.callback(_end, self._start_gateway())
            wait_until(lambda: _answers(f"{self.url}/readyz"), START_S)
            yield

    def _start_gateway(self) -> "subprocess.Popen[bytes]":
        keys, spool = self._folder / "api-keys.json", self._folder / "gateway"
        spool.mkdir()
        sha256 = hashlib.sha256(self.api_key.encode()).hexdigest()
        keys.write_text(json.dumps([{"name": "bench", "sha256": sha256, "scopes": ["submit", "read"]}]))
        own = {"METSEG_API_KEYS_FILE": str(keys), "PROMETHEUS_MULTIPROC_DIR": str(spool / "metrics")}
        gateway = ["gunicorn", "metseg_api.app:create_app()", "--config", "python:metseg_api.gunicorn_conf"]
        command = [*_inside(CENTRAL), *OWN_PROCESSES, sys.executable, "-m", *gateway]
        with (self._folder / "gateway.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--bind", f"{CENTRAL_ADDRESS}:{self._port}"],
                cwd=ROOT,
                env={**self._environment, **own, "TMPDIR": str(spool)},
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def workers(self, *names: str) -> Iterator[list[Host]]:
        """Worker hosts with these names and one thread each, for the length of the block; all are ready for jobs."""
        with ExitStack() as stack:
            hosts: list[Host] = []
            for number, name in enumerate(names):
                self._probes("DEL", name)
                hosts.append(Host(name, number, self._environment, self._folder))
                stack.callback(hosts[-1].remove)
                hosts[-1].start()
            for name in names:
                wait_until(partial(self._probes, "EXISTS", name), START_S)
            yield hosts

    def let_work(self, host: Host, *, work: bool) -> None:
        """Let a host's worker take jobs, or not."""
        control = celery_app(Settings(redis_url=self.redis.url)).control
        ask = control.add_consumer if work else control.cancel_consumer
        assert ask(QUEUE, destination=[f"celery@{host.name}"], reply=True, timeout=10), f"{host.name} does not answer"

    def _probes(self, command: str, name: str) -> bool:
        """Whether Redis had the acknowledgement of a host's last liveness probe: its worker runs tasks."""
        with redis.Redis.from_url(self.redis.url) as client:
            return bool(client.execute_command(command, f"metseg:probe:celery@{name}"))


@contextmanager
def deployment(folder: Path) -> Iterator[Central]:
    """The central host, running, with the bench connected to its switch; removed afterwards, whatever happens.

    Args:
        folder: for data and logs.

    Yields:
        The host.
    """
    with ExitStack() as stack:
        stack.callback(_delete_namespace, CENTRAL)
        _ip("netns", "add", CENTRAL)
        _ip("-n", CENTRAL, "link", "add", SWITCH, "address", SWITCH_MAC, "type", "bridge")
        _ip("-n", CENTRAL, "address", "add", f"{CENTRAL_ADDRESS}/24", "dev", SWITCH)
        _ip("link", "add", "metseg-bench", "type", "veth", "peer", "name", "bench", "netns", CENTRAL)
        stack.callback(_ip, "link", "delete", "metseg-bench")  # the kernel deletes those of a namespace later
        _ip("address", "add", f"{BENCH_ADDRESS}/24", "dev", "metseg-bench")
        _ip("link", "set", "metseg-bench", "up")
        _ip("-n", CENTRAL, "link", "set", "bench", "master", SWITCH, "up")
        for device in ("lo", SWITCH):
            _ip("-n", CENTRAL, "link", "set", device, "up")
        central = Central(folder, 8000)
        with central.running():
            yield central


def _inside(namespace: str) -> Sequence[str]:
    return (IP, "netns", "exec", namespace)


def _ip(*arguments: str) -> None:
    subprocess.run([IP, *arguments], check=True)


def _delete_namespace(name: str) -> None:
    """Delete a namespace with its devices, if it exists."""
    subprocess.run([IP, "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()

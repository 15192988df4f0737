"""A whole deployment on this machine for a bench: Redis, S3, gateway and workers as separate processes.

with site(folder) as here:
    Client(here.url)
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tests.servers import free_ports, redis_server, s3_server, wait_until

from metseg.parallel import cpu_quota

__all__ = ["ROOT", "Site", "environment", "site"]

ROOT = Path(__file__).parents[2]
START_S = 90.0
LIMITS = {
    "METSEG_QUEUE_LIMIT": "100000",
    "METSEG_KEY_JOBS_PER_MINUTE": "100000",
    "METSEG_KEY_OPEN_JOBS": "100000",
}


@dataclass(frozen=True)
class Site:
    """The gateway's URL, and the processes by part."""

    url: str
    processes: dict[str, list[psutil.Process]]

    def family(self, name: str) -> list[psutil.Process]:
        """The processes of a part and their children."""
        return [each for one in self.processes[name] for each in (one, *one.children(recursive=True))]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used by each part so far, including its children."""
        return {name: sum(sum(each.cpu_times()[:2]) for each in self.family(name)) for name in self.processes}

    def forget_peaks(self, name: str) -> int:
        """Reset the peaks; returns the largest current resident set of the part's processes, in bytes."""
        for process in self.family(name):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        return self.peak_bytes(name)

    def peak_bytes(self, name: str) -> int:
        """The largest peak resident set of the part's processes."""
        return max(_status_kib(process.pid, "VmHWM") for process in self.family(name)) * 1024


def _status_kib(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def environment(tree: Path) -> dict[str, str]:
    """The variables with which Python imports the code of a checkout."""
    paths = (".", "shared", "services/inference-api", "services/worker")
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / path) for path in paths)}


@contextmanager
def site(folder: Path, workers: int = 1, tree: Path = ROOT) -> Iterator[Site]:
    """A running deployment with the starter model, for the length of the block.

    Args:
        folder: for its data and logs.
        workers: they share the CPUs.
        tree: the checkout whose code runs.

    Yields:
        The deployment.
    """
    with ExitStack() as stack:
        redis, s3 = stack.enter_context(redis_server(folder)), stack.enter_context(s3_server(folder))
        [port] = free_ports(1)
        variables = environment(tree) | redis.environment() | s3.environment() | LIMITS
        variables["METSEG_THREADS"] = str(max(1, cpu_quota() // workers))
        subprocess.run(
            [sys.executable, "-m", "metseg_worker.setup"],
            cwd=tree,
            env=variables,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        flags = ["--bind", f"127.0.0.1:{port}", "-c", "python:metseg_api.gunicorn_conf"]
        quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        worker = ["celery", "-q", "-A", "metseg_worker.app", "worker", *quiet]
        commands = [("gateway", ["gunicorn", "metseg_api.app:create_app()", *flags])]
        commands += [("worker", [*worker, "--hostname", f"{number}@bench"]) for number in range(workers)]
        processes = {"redis": [psutil.Process(redis._process.pid)], "store": [psutil.Process(s3._process.pid)]}
        for name, command in commands:
            log = stack.enter_context((folder / f"{name}.log").open("ab"))
            started = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=tree, env=variables, stdout=log, stderr=log
            )
            stack.callback(_end, started)
            processes.setdefault(name, []).append(psutil.Process(started.pid))
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _ready(url), START_S)
        yield Site(url, processes)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

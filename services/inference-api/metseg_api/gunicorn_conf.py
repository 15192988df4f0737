"""gunicorn's configuration: `gunicorn -c python:metseg_api.gunicorn_conf "metseg_api.app:create_app()"`.

The command line and GUNICORN_CMD_ARGS override it; WEB_CONCURRENCY sets the number of workers.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Protocol

from uvicorn_worker import UvicornH11Worker  # type: ignore[import-untyped]

from metseg import logs
from metseg.errors import InvalidParameter
from metseg.settings import settings
from metseg_api.auth import Keyring, require_keys_if_exposed
from metseg_api.http_protocol import GatewayProtocol

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
METRICS_PREFIX = "metseg-metrics-"


class Worker(Protocol):
    """The part of gunicorn's Worker that is used here."""

    pid: int


class Config(Protocol):
    """The part of gunicorn's Config that is used here."""

    address: list[tuple[str, int] | str]


class Arbiter(Protocol):
    """The part of gunicorn's Arbiter that is used here."""

    cfg: Config


class GatewayWorker(UvicornH11Worker):  # type: ignore[misc]
    """A worker with deadlines. h11 limits the size of a request's headers, here to 64 KiB plus one read."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": GatewayProtocol,
        "ws": "none",
        "h11_max_incomplete_event_size": 64 * 1024,
        "timeout_graceful_shutdown": 8,
        "server_header": False,
        "access_log": False,
    }


bind = "0.0.0.0:8000"  # inside a container; `make local` binds to loopback by its command line
worker_class = "metseg_api.gunicorn_conf.GatewayWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 -- only for heartbeat files
control_socket_disable = True
keepalive = 75
timeout = 60
graceful_timeout = 10
accesslog = None
logconfig_dict = logs.configuration()
logconfig_dict["loggers"] |= {
    "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
    "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
}


def on_starting(server: Arbiter) -> None:
    """Check the API keys; give the workers an empty folder for their Prometheus counters."""
    chosen = settings()
    if chosen.api_keys_file is None:
        addresses = [one if isinstance(one, str) else one[0] for one in server.cfg.address]
        require_keys_if_exposed(addresses, chosen.api_address)
    try:
        Keyring.read(chosen.api_keys_file)
    except InvalidParameter as error:  # in a worker it would be retried forever
        raise SystemExit(f"metseg: {error.detail}") from None
    if MULTIPROC_DIR not in os.environ:
        delete_abandoned_metrics()
        os.environ[MULTIPROC_DIR] = tempfile.mkdtemp(prefix=f"{METRICS_PREFIX}{os.getpid()}-")
    folder = Path(os.environ[MULTIPROC_DIR])
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.db"):
        leftover.unlink()


def delete_abandoned_metrics() -> None:
    """Delete the folders of counters of main processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{METRICS_PREFIX}*-*"):
        owner = folder.name.removeprefix(METRICS_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def child_exit(server: object, worker: Worker) -> None:
    """Drop the live gauges of a worker that has exited; its counters remain.

    Args:
        server: gunicorn's main process.
        worker: that has exited.
    """
    from prometheus_client import multiprocess  # reads the environment when it is imported

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: object) -> None:
    """Delete the counters."""
    shutil.rmtree(os.environ[MULTIPROC_DIR], ignore_errors=True)

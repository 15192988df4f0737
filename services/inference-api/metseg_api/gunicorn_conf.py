"""How gunicorn serves the gateway: `gunicorn -c python:metseg_api.gunicorn_conf "metseg_api.app:create_app()"`.

The command line and GUNICORN_CMD_ARGS go before what is said here; WEB_CONCURRENCY sets the workers.
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
from metseg_api.auth import Keyring, refuse_to_be_open

METRICS = "PROMETHEUS_MULTIPROC_DIR"


class Process(Protocol):
    """What is used here of gunicorn's workers."""

    pid: int


class Listening(Protocol):
    """What is used here of gunicorn's configuration: where it listens."""

    address: list[tuple[str, int] | str]


class Arbiter(Protocol):
    """What is used here of gunicorn's main process."""

    cfg: Listening


class GatewayWorker(UvicornH11Worker):  # type: ignore[misc]
    """An h11 worker: unlike httptools it bounds a request's headers, at 64 KiB and what one read brings more."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": "h11",
        "ws": "none",
        "h11_max_incomplete_event_size": 64 * 1024,
        "timeout_graceful_shutdown": 8,
        "server_header": False,
        "access_log": False,
    }


bind = "0.0.0.0:8000"  # inside a container; `make local` binds to loopback by its command line
worker_class = "metseg_api.gunicorn_conf.GatewayWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 -- only the heartbeat's files
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
    """Refuse to be open to strangers; give the workers one folder for their counters, empty at each start."""
    chosen = settings()
    if chosen.api_keys_file is None:
        addresses = [one if isinstance(one, str) else one[0] for one in server.cfg.address]
        refuse_to_be_open(addresses, chosen.api_address)
    try:
        Keyring.read(chosen.api_keys_file)
    except InvalidParameter as error:  # here, where it ends the gateway; in a worker it would be tried for ever
        raise SystemExit(f"metseg: {error.detail}") from None
    if METRICS not in os.environ:
        os.environ[METRICS] = tempfile.mkdtemp(prefix="metseg-metrics-")
    folder = Path(os.environ[METRICS])
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.db"):
        leftover.unlink()


def child_exit(server: object, worker: Process) -> None:
    """Drop the live gauges of a worker that is gone; its counters stay counted."""
    from prometheus_client import multiprocess  # looks for the folder when it is imported

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: object) -> None:
    """Leave no counters behind."""
    shutil.rmtree(os.environ[METRICS], ignore_errors=True)

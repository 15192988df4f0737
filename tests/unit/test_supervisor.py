"""How `make local` supervises its processes: its supervisord configuration with small real programs."""

import configparser
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.servers import wait_until

LOCAL = Path(__file__).parents[2] / "infra/local"
RUNNER = """
import os, sys
from pathlib import Path
import run
settings = {**os.environ, "WITH_PARENT": run.with_parent(), "METSEG_GATEWAY_URL": "http://127.0.0.1:9"}
sys.exit(run.supervise(settings, Path(sys.argv[1])))
"""
LONG_S = 30


def configured(folder: Path, programs: dict[str, str]) -> Path:
    """The configuration of `make local` with other programs, in the given order."""
    original = configparser.RawConfigParser()
    original.read(LOCAL / "supervisord.conf")
    settings = dict(original["program:worker"])
    for name in [name for name in original.sections() if name.startswith("program:")]:
        original.remove_section(name)
    for priority, (name, command) in enumerate(programs.items()):
        original[f"program:{name}"] = settings | {
            "command": f"%(ENV_WITH_PARENT)s {command}",
            "priority": str(priority + 10),
            "startsecs": "2",
            "stopwaitsecs": "3",
        }
    original["eventlistener:stop_on_fatal"]["command"] = f"{sys.executable} {LOCAL / 'stop_on_fatal.py'}"
    path = folder / "supervisord.conf"
    with path.open("w") as file:
        original.write(file)
    return path


@contextlib.contextmanager
def supervised(folder: Path, **programs: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """A supervisor in a separate process, and its output; any process it leaves is killed."""
    environment = {**os.environ, "PYTHONPATH": str(LOCAL), "LOCAL_FOLDER": str(folder), "PYTHONUNBUFFERED": "1"}
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(configured(folder, programs))], env=environment, stdout=out, stderr=out
        )
    try:
        yield process, log.read_text
    finally:
        for each in tree(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def tree(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(process.pid)
        return [*whole.children(recursive=True), whole]
    return []


def running(process: "subprocess.Popen[str]", *command: str) -> list[psutil.Process]:
    """The processes of a command."""
    found = []
    for each in tree(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [each] if each.cmdline() == list(command) else []
    return found


def left(processes: list[psutil.Process]) -> list[str]:
    _, alive = psutil.wait_procs(processes, timeout=LONG_S)
    return [str(each) for each in alive]


STUBBORN = (
    "import os,signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    r"os.write(1, b'deaf\n'); time.sleep(300)"  # in one piece, so that the other's line does not come between
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_process_even_if_one_ignores_it(tmp_path: Path, number: signal.Signals) -> None:
    deaf = f'{sys.executable} -c "{STUBBORN}"'
    with supervised(tmp_path, parent='sh -c "sleep 300 & echo up; wait"', deaf=deaf) as (supervisor, said):
        wait_until(lambda: {"up", "deaf"} <= set(said().splitlines()), LONG_S)
        family = tree(supervisor)
        assert len(family) == 6, (
            "run.py, supervisord, its listener, a shell with its child, and the one that ignores signals"
        )
        supervisor.send_signal(number)
        assert supervisor.wait(timeout=LONG_S) == 0
        assert left(family) == []


def test_a_killed_process_is_restarted_and_the_others_keep_running(tmp_path: Path) -> None:
    with supervised(tmp_path, first="sleep 300", second="sleep 301") as (supervisor, _):
        wait_until(lambda: running(supervisor, "sleep", "300") and running(supervisor, "sleep", "301"), LONG_S)
        [victim], [other] = running(supervisor, "sleep", "300"), running(supervisor, "sleep", "301")
        time.sleep(2.5)  # startsecs: from then on a crash counts as the first
        victim.kill()
        wait_until(lambda: set(running(supervisor, "sleep", "300")) - {victim}, LONG_S)
        assert running(supervisor, "sleep", "301") == [other]


def test_a_crash_loop_stops_everything_and_is_named(tmp_path: Path) -> None:
    with supervised(tmp_path, stays="sleep 300", fails='sh -c "echo trying; exit 7"') as (supervisor, said):
        wait_until(lambda: "trying" in said(), LONG_S)
        family = tree(supervisor)
        assert supervisor.wait(timeout=LONG_S) == 1
        assert left(family) == []
        assert said().count("trying") >= 4  # more where a busy machine makes a crash look like a start that lasted
        assert "make local: fails keeps crashing" in said()


def test_processes_stop_in_reverse_order(tmp_path: Path) -> None:
    polite = "sh -c \"trap 'echo bye {0}; exit 0' TERM; echo up {0}; while :; do sleep 0.05; done\""
    with supervised(tmp_path, first=polite.format(1), second=polite.format(2)) as (supervisor, said):
        wait_until(lambda: {"up 1", "up 2"} <= set(said().splitlines()), LONG_S)
        supervisor.terminate()
        supervisor.wait(timeout=LONG_S)
        assert [line for line in said().splitlines() if line.startswith("bye")] == ["bye 2", "bye 1"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a process whose parent died")
@pytest.mark.parametrize("generation", [0, 1], ids=["run.py", "supervisord"])
def test_a_killed_supervisor_leaves_no_process(tmp_path: Path, generation: int) -> None:
    with supervised(tmp_path, one="sleep 300", two="sleep 300") as (supervisor, _):
        wait_until(lambda: len(running(supervisor, "sleep", "300")) == 2, LONG_S)
        family = tree(supervisor)
        victim = psutil.Process(supervisor.pid)
        (victim.children()[0] if generation else victim).kill()
        supervisor.wait(timeout=LONG_S)
        assert left(family) == []

"""The supervisor of `make local`, with real processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor import Command, read_procfile

RUNNER = """
import asyncio, os, sys
from pathlib import Path
from supervisor import Supervisor, read_procfile
write = lambda name, line: print(f"{name}: {line}", end="", flush=True)
supervisor = Supervisor(read_procfile(Path(sys.argv[1]), os.environ), os.environ, write, stop_s=1.0)
sys.exit(asyncio.run(supervisor.run(then=lambda: print("all started", flush=True))))
"""
LOCAL = Path(__file__).parents[2] / "infra" / "local"


@contextlib.contextmanager
def supervised(folder: Path, procfile: str) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own; whatever it would leave behind is killed in the end."""
    path = folder / "Procfile"
    path.write_text(procfile, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(path)],
        env={**os.environ, "PYTHONPATH": str(LOCAL), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            for each in tree(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def tree(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(process.pid)
        return [*whole.children(recursive=True), whole]
    return []


def said(process: subprocess.Popen[str], *expected: str) -> None:
    """Read until every line of `expected` was printed."""
    missing = set(expected)
    assert process.stdout is not None
    while missing:
        line = process.stdout.readline()
        assert line, f"ended before it said {missing}"
        missing.discard(line.strip())


def living(processes: list[psutil.Process]) -> list[str]:
    _, alive = psutil.wait_procs(processes, timeout=5)
    return [str(each) for each in alive]


STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(300)"
FAMILY = f"""
parent: sh -c "sleep 300 & echo up; wait"
deaf: {sys.executable} -c "{STUBBORN}"
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_process_behind_not_even_a_deaf_one(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path, FAMILY) as supervisor:
        said(supervisor, "all started", "parent: up", "deaf: deaf")
        family = tree(supervisor)
        assert len(family) == 4, "the supervisor, a shell with its child, and the deaf one"
        supervisor.send_signal(number)
        assert supervisor.wait(timeout=10) == 0
        assert living(family) == []


def test_when_one_command_ends_all_end_with_its_code(tmp_path: Path) -> None:
    with supervised(tmp_path, 'stays: sleep 300\nfails: sh -c "sleep 0.3; exit 7"\n') as supervisor:
        said(supervisor, "all started")
        family = tree(supervisor)
        assert supervisor.wait(timeout=10) == 7
        assert living(family) == []


def test_a_command_that_ends_well_is_a_failure_too(tmp_path: Path) -> None:
    with supervised(tmp_path, "stays: sleep 300\nends: sleep 0.3\n") as supervisor:
        assert supervisor.wait(timeout=10) == 1


def test_commands_stop_in_the_opposite_order(tmp_path: Path) -> None:
    polite = "sh -c \"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done\""
    with supervised(tmp_path, f"first: {polite}\nsecond: {polite}\n") as supervisor:
        said(supervisor, "first: up", "second: up")
        supervisor.terminate()
        rest = supervisor.communicate(timeout=10)[0].splitlines()
        assert [line for line in rest if "bye" in line] == ["second: bye", "first: bye"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_even_a_killed_supervisor_takes_its_commands_along(tmp_path: Path) -> None:
    with supervised(tmp_path, "one: sleep 300\ntwo: sleep 300\n") as supervisor:
        said(supervisor, "all started")
        time.sleep(0.2)  # until both have replaced the fork that asked for it
        family = tree(supervisor)
        assert len(family) == 3
        supervisor.kill()
        supervisor.wait(timeout=10)
        assert living(family) == []


def test_a_line_without_end_does_not_stop_the_relay(tmp_path: Path) -> None:
    endless = f"{sys.executable} -c \"print('x' * 200_000); print('after')\""
    with supervised(tmp_path, f"long: {endless}\n") as supervisor:
        out, _ = supervisor.communicate(timeout=10)
    assert "long: (a line too long to show)" in out
    assert "long: after" in out


def test_variables_are_filled_in_and_keep_their_spaces(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# a comment: of two parts\n\napi: serve --dir $FOLDER/x --factory app()\n", encoding="utf-8")
    assert read_procfile(path, {"FOLDER": "/a folder"}) == [
        Command("api", ["serve", "--dir", "/a folder/x", "--factory", "app()"])
    ]
    with pytest.raises(KeyError):
        read_procfile(path, {})

"""Runs the processes of a Procfile together: if one ends, all end, and none is left behind."""

import asyncio
import contextlib
import ctypes
import os
import shlex
import signal
import string
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

STOP_S = 8.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Command:
    """One line of a Procfile, its variables filled in."""

    name: str
    arguments: list[str]


def read_procfile(path: Path, environment: Mapping[str, str]) -> list[Command]:
    """The commands of a Procfile in their order; `$NAME` is taken from `environment`.

    Raises:
        KeyError: a variable is not in `environment`.
    """
    commands = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, command = line.partition(":")
        if not command.strip() or line.startswith("#"):
            continue
        arguments = [string.Template(word).substitute(environment) for word in shlex.split(command)]
        commands.append(Command(name.strip(), arguments))
    return commands


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, even by SIGKILL (Linux only; elsewhere a no-op)."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Starts commands in order, relays what they print, and stops them in the opposite order.

    Each command leads a session of its own: a Ctrl-C reaches only us, and its group is all that it started.
    `write` is given the name of a command and a line that it printed; `stop_s` is how long a command may take to
    end before it is killed.
    """

    def __init__(
        self,
        commands: list[Command],
        environment: Mapping[str, str],
        write: Callable[[str, str], None],
        stop_s: float = STOP_S,
    ) -> None:
        self._commands = commands
        self._environment = dict(environment)
        self._write = write
        self._stop_s = stop_s
        self._stop = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._relays: list[asyncio.Task[None]] = []
        self.returncode = 0

    async def run(self, then: Callable[[], None] = lambda: None) -> int:
        """Start all, call `then`, and run until a signal or until the first command ends.

        Returns:
            0 after a signal, otherwise the code of the command that ended (1 where that was 0).
        """
        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, self._stop.set)
        try:
            for command in self._commands:
                if self._stop.is_set():
                    break
                await self._start(command)
            then()
            await self._stop.wait()
        finally:
            for name in reversed(list(self._running)):
                await self._end(name)
            if self._relays:
                await asyncio.wait(self._relays, timeout=self._stop_s)
        return self.returncode

    async def _start(self, command: Command) -> None:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._running[command.name] = process
        self._relays.append(asyncio.create_task(self._relay(command.name, process)))

    async def _relay(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  (for the type checker: we asked for a pipe)
        while line := await _line(process.stdout):
            self._write(name, line)
        code = await process.wait()
        if not self._stop.is_set():
            self._write(name, f"ended by itself with code {code}; stopping the others")
            self.returncode = code or 1
            self._stop.set()

    async def _end(self, name: str) -> None:
        process = self._running[name]
        with contextlib.suppress(ProcessLookupError):
            process.terminate()  # it alone: a leader ends its workers with more care than we could
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self._stop_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also those of its group that outlived it
        await process.wait()


async def _line(stream: asyncio.StreamReader) -> str:
    try:
        line = await stream.readline()
    except ValueError:  # longer than the reader's buffer, which is emptied by that
        return "(a line too long to show)"
    return line.decode(errors="replace").rstrip("\n") + "\n" if line else ""

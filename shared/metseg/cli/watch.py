"""`metseg watch`: segment the studies that arrive in a folder, and move them to `done` or `failed`.

A study is moved only after its results, or the reason why there are none, have been written. So no outage, restart or
kill loses a study. Log lines name jobs but never studies, whose names may be those of patients; each study's `job.json`
names its job.
"""

import argparse
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from metseg.atomic_io import atomic_write_bytes, folder_lock
from metseg.cli.backend import Backend, Interrupted
from metseg.cli.exit_codes import ExitCode, UsageError
from metseg.cli.run_state import RunState
from metseg.cli.segment import open_backend, parse_options
from metseg.cli.segment_study import SegmentOptions, StudyOutcome, segment_study
from metseg.cli.watch_folder import DONE, FAILED, Snapshot, WatchFolder, take_snapshot
from metseg.client import open_study, study_digest, study_name
from metseg.errors import MetsegError

__all__ = ["run"]

MIN_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0


def run(arguments: argparse.Namespace) -> ExitCode:
    """Watch until SIGTERM or SIGINT, or with `--once` until nothing is left to do."""
    options = parse_options(arguments)._replace(ignored_name=arguments.marker)
    if not arguments.folder.is_dir():
        raise UsageError(f"There is no folder {arguments.folder} to watch.")
    if arguments.out.absolute().is_relative_to(arguments.folder.absolute()):
        raise UsageError("OUT is inside IN, so results would be mistaken for studies; choose another folder.")
    stop = threading.Event()
    with _stop_on_signals(stop), folder_lock(arguments.out), open_backend(arguments, stop) as backend:
        folder = WatchFolder(arguments.folder, arguments.quiet, arguments.marker)
        watcher = _Watcher(folder, arguments, options, backend, stop)
        _log("watching")
        return watcher.run(arguments.poll, arguments.once)


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Running(NamedTuple):
    """A study that is being segmented."""

    snapshot: Snapshot
    results: Path
    future: Future[StudyOutcome]


class _Watcher:
    """Segments the studies of one folder into another."""

    def __init__(
        self,
        folder: WatchFolder,
        arguments: argparse.Namespace,
        options: SegmentOptions,
        backend: Backend,
        stop: threading.Event,
    ) -> None:
        self._folder = folder
        self._in: Path = arguments.folder
        self._out: Path = arguments.out
        self._keep: bool = arguments.keep
        self._options = options
        self._backend = backend
        self._stop = stop
        self._running: dict[Path, _Running] = {}
        self._finished: dict[Path, Snapshot] = {}
        self._pause_s, self._resume_at_s = 0.0, 0.0
        self._code = ExitCode.DONE

    def run(self, poll_s: float, once: bool) -> ExitCode:
        """Poll until stopped; what is running then is left to the next run."""
        with ThreadPoolExecutor(self._backend.max_concurrency) as pool:
            while not self._stop.is_set():
                pending = self._poll(pool)
                if once and not pending:
                    break
                self._stop.wait(poll_s)
        self._collect()
        _log("stopped")
        return self._code if once or self._code is ExitCode.REFUSED else ExitCode.DONE

    def _poll(self, pool: ThreadPoolExecutor) -> bool:
        """Collect finished studies and start new ones; whether anything is pending."""
        self._collect()
        try:
            complete, incomplete = self._folder.scan()
        except OSError as error:  # a network share is down
            self._back_off(f"the folder cannot be read: {error.strerror}")
            return True
        waiting = [
            (path, snapshot)
            for path, snapshot in complete
            if path not in self._running and self._finished.get(path) != snapshot
        ]
        for path, snapshot in waiting:
            if len(self._running) < self._backend.max_concurrency and time.monotonic() >= self._resume_at_s:
                self._start(pool, path, snapshot)
        return bool(waiting or incomplete or self._running)

    def _start(self, pool: ThreadPoolExecutor, path: Path, snapshot: Snapshot) -> None:
        try:
            results = self._results_folder(path)
        except (MetsegError, OSError) as error:
            self._fail(path, None, error.detail if isinstance(error, MetsegError) else "It cannot be read.")
            return
        future = pool.submit(segment_study, path, results, self._options, self._backend, self._on_progress)
        self._running[path] = _Running(snapshot, results, future)

    def _on_progress(self, share: float) -> None:
        if self._stop.is_set():
            raise Interrupted

    def _results_folder(self, path: Path) -> Path:
        """The folder for the results of a study: of its name, unless another study has it."""
        with open_study(path, self._options.ignored_name) as attachments:
            sha256 = study_digest(attachments)
        name = study_name(path)
        taken = {running.results for running in self._running.values()}
        for number in count(1):
            folder = self._out / (name if number == 1 else f"{name}-{number}")
            state = RunState.read(folder)
            free = not folder.exists() if state is None else state.study_sha256 == sha256
            if free and folder not in taken:
                break
        return folder

    def _collect(self) -> None:
        """Handle the studies that have been segmented."""
        for path in [path for path, running in self._running.items() if running.future.done()]:
            self._handle(path, self._running.pop(path))

    def _handle(self, path: Path, running: _Running) -> None:
        try:
            outcome = running.future.result()
        except Interrupted:
            return
        except MetsegError as error:
            code = ExitCode.of(error)
            if code is ExitCode.REFUSED:
                _log(error.detail)
                self._code = code
                self._stop.set()
            elif code.is_fatal:
                self._back_off(error.detail)
            else:
                self._fail(path, running.results, error.detail)
            return
        except OSError as error:
            self._back_off(f"the results cannot be written: {error.strerror}")
            return
        self._pause_s = 0.0
        _log(f"job {outcome.result.job_id}: done, lesions: {len(outcome.result.lesions)}")
        if take_snapshot(path) == running.snapshot:  # otherwise files were added, and it is segmented again
            self._move(path, running.snapshot, DONE)

    def _fail(self, path: Path, results: Path | None, reason: str) -> None:
        """Write the reason next to the study, and move the study so that it is not tried again."""
        self._code = max(self._code, ExitCode.FAILED)
        state = RunState.read(results) if results is not None else None
        _log(f"job {state.job_id if state and state.job_id else '(none)'}: failed, {reason}")
        folder = self._out if self._keep else self._in / FAILED
        try:
            folder.mkdir(exist_ok=True)
            atomic_write_bytes(folder / f"{path.name}.reason.txt", f"{reason}\n".encode())
        except OSError as error:
            self._back_off(f"the reason cannot be written: {error.strerror}")
            return
        self._move(path, take_snapshot(path), FAILED)

    def _move(self, path: Path, snapshot: Snapshot, subfolder: str) -> None:
        """Rename the study into a subfolder; with `--keep`, only ignore it until it changes."""
        self._finished[path] = snapshot
        if self._keep:
            return
        try:
            marker = self._folder.marker_of(path) if self._options.ignored_name and not path.is_dir() else None
            folder = self._in / subfolder
            folder.mkdir(exist_ok=True)
            free = (folder / (path.name if number == 1 else f"{path.name}-{number}") for number in count(1))
            path.rename(next(target for target in free if not target.exists()))
            if marker is not None:
                marker.unlink(missing_ok=True)
        except OSError as error:
            _log(f"a finished study cannot be moved: {error.strerror}; it stays and is ignored until it changes")
            return
        del self._finished[path]

    def _back_off(self, reason: str) -> None:
        """Start nothing for a while, which doubles up to a minute."""
        self._pause_s = min(max(2 * self._pause_s, MIN_PAUSE_S), MAX_PAUSE_S)
        self._resume_at_s = time.monotonic() + self._pause_s
        _log(f"waiting {self._pause_s:.0f} s: {reason}")


def _log(message: str) -> None:
    print(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {message}", flush=True)

"""`metseg watch`: whatever arrives in a folder is segmented; what is done is moved, what failed has its reason.

A study leaves the folder only once its results, or the reason why there are none, lie where they belong. So nothing
is lost by an outage, a restart or a kill. Lines tell jobs, never names of studies, which may be those of patients;
each study's `job.json` tells its job.
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

from metseg.atomic_io import atomic_write, folder_lock
from metseg.cli.arrivals import DONE, FAILED, Arrivals, Signature, signature
from metseg.cli.engine import Engine, Interrupted
from metseg.cli.exits import Exit, Usage
from metseg.cli.record import Record
from metseg.cli.segment import asked, engine
from metseg.cli.work import Asked, Done, segment
from metseg.client import digest, opened, study_name
from metseg.errors import MetsegError

__all__ = ["run"]

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


def run(options: argparse.Namespace) -> Exit:
    """Watch until SIGTERM or SIGINT, or with `--once` until nothing is left to do."""
    how = asked(options)._replace(leave_out=options.marker)
    if not options.folder.is_dir():
        raise Usage(f"There is no folder {options.folder} to watch.")
    if options.out.absolute().is_relative_to(options.folder.absolute()):
        raise Usage("OUT lies in IN, so that results would be taken for studies; name another folder.")
    stop = threading.Event()
    with _signals(stop), folder_lock(options.out), engine(options, stop) as worker:
        arrivals = Arrivals(options.folder, options.quiet, options.marker)
        watch = _Watch(arrivals, options, how, worker, stop)
        _tell("watching")
        return watch.until_stopped(options.poll, options.once)


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT end the watch cleanly."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watch:
    """The studies of one folder on their way to another."""

    def __init__(
        self, arrivals: Arrivals, options: argparse.Namespace, how: Asked, worker: Engine, stop: threading.Event
    ) -> None:
        self._arrivals = arrivals
        self._in: Path = options.folder
        self._out: Path = options.out
        self._keep: bool = options.keep
        self._how = how
        self._worker = worker
        self._stop = stop
        self._running: dict[Path, Future[Done]] = {}
        self._begun: dict[Path, tuple[Signature, Path]] = {}
        self._handled: dict[Path, Signature] = {}
        self._pause_s, self._resume_s = 0.0, 0.0
        self._status = Exit.DONE

    def until_stopped(self, poll_s: float, once: bool) -> Exit:
        """Look, begin, collect; what runs at the end is left to the next watch."""
        with ThreadPoolExecutor(self._worker.parallel) as pool:
            while not self._stop.is_set():
                left = self._turn(pool)
                if once and not left:
                    break
                self._stop.wait(poll_s)
        self._collect()
        _tell("stopped")
        return self._status if once or self._status is Exit.REFUSED else Exit.DONE

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """One look; whether anything is left to wait for."""
        self._collect()
        try:
            complete, incomplete = self._arrivals.look()
        except OSError as error:  # the share is away
            self._back_off(f"the folder cannot be read: {error.strerror}")
            return True
        waiting = [
            (path, found) for path, found in complete if path not in self._running and self._handled.get(path) != found
        ]
        for path, found in waiting:
            if len(self._running) < self._worker.parallel and time.monotonic() >= self._resume_s:
                self._begin(pool, path, found)
        return bool(waiting or incomplete or self._running)

    def _begin(self, pool: ThreadPoolExecutor, path: Path, found: Signature) -> None:
        try:
            place = self._place(path)
        except (MetsegError, OSError) as error:
            self._failed(path, None, error.detail if isinstance(error, MetsegError) else "It cannot be read.")
            return
        self._begun[path] = found, place
        self._running[path] = pool.submit(segment, path, place, self._how, self._worker, self._look_up)

    def _look_up(self, share: float) -> None:
        if self._stop.is_set():
            raise Interrupted

    def _place(self, path: Path) -> Path:
        """Where the results of a study go: a folder of its name that holds no other study's."""
        with opened(path, self._how.leave_out) as attachments:
            sha256 = digest(attachments)
        name = study_name(path)
        taken = {place for _, place in self._begun.values()}
        for number in count(1):
            place = self._out / (name if number == 1 else f"{name}-{number}")
            record = Record.read(place)
            free = not place.exists() if record is None else record.study_sha256 == sha256
            if free and place not in taken:
                break
        return place

    def _collect(self) -> None:
        """Finish the studies whose work has ended."""
        for path in [path for path, future in self._running.items() if future.done()]:
            future = self._running.pop(path)
            found, place = self._begun.pop(path)
            self._finish(path, found, place, future)

    def _finish(self, path: Path, found: Signature, place: Path, future: Future[Done]) -> None:
        try:
            done = future.result()
        except Interrupted:
            return
        except MetsegError as error:
            status = Exit.of(error)
            if status is Exit.REFUSED:
                _tell(error.detail)
                self._status = status
                self._stop.set()
            elif status.ends_all:
                self._back_off(error.detail)
            else:
                self._failed(path, place, error.detail)
            return
        except OSError as error:
            self._back_off(f"the results cannot be written: {error.strerror}")
            return
        self._pause_s = 0.0
        _tell(f"job {done.result.job_id}: done, lesions: {len(done.result.lesions)}")
        if signature(path) == found:  # else more of it came meanwhile, and it is taken again
            self._away(path, found, DONE)

    def _failed(self, path: Path, place: Path | None, reason: str) -> None:
        """Put the reason beside the study, then the study where it is not tried again."""
        self._status = max(self._status, Exit.FAILED)
        record = Record.read(place) if place is not None else None
        _tell(f"job {record.job_id if record and record.job_id else '(none)'}: failed, {reason}")
        folder = self._out if self._keep else self._in / FAILED
        try:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / f"{path.name}.reason.txt") as file:
                file.write(f"{reason}\n".encode())
        except OSError as error:
            self._back_off(f"the reason cannot be written: {error.strerror}")
            return
        self._away(path, signature(path), FAILED)

    def _away(self, path: Path, found: Signature, where: str) -> None:
        """Out of the way, by one rename; with `--keep` it is only not taken again as long as it does not change."""
        self._handled[path] = found
        if self._keep:
            return
        try:
            marker = self._arrivals.marker_of(path) if self._how.leave_out and not path.is_dir() else None
            folder = self._in / where
            folder.mkdir(exist_ok=True)
            free = (folder / (path.name if number == 1 else f"{path.name}-{number}") for number in count(1))
            path.rename(next(target for target in free if not target.exists()))
            if marker is not None:
                marker.unlink(missing_ok=True)
        except OSError as error:
            _tell(f"a finished study cannot be moved: {error.strerror}; it stays and is not taken again")
            return
        del self._handled[path]

    def _back_off(self, why: str) -> None:
        """Begin nothing for a while that doubles up to a minute; what is there stays there."""
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        self._resume_s = time.monotonic() + self._pause_s
        _tell(f"waiting {self._pause_s:.0f} s: {why}")


def _tell(what: str) -> None:
    print(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {what}", flush=True)

"""Studies that arrive in a folder, and when each of them is complete.

The folder is polled, since network shares send no file system events. Changes are detected by sizes and times of files,
and timed by the local clock, since that of a file server may differ.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from metseg.client import is_ignored

__all__ = ["DONE", "FAILED", "Snapshot", "WatchFolder", "take_snapshot"]

DONE, FAILED = "done", "failed"
UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload", "~")
"""Suffixes of files that are still being copied or downloaded."""

Snapshot = tuple[tuple[str, int, int], ...]
"""Name, size and time of each file of a study; empty if it has none."""


class _Observation(NamedTuple):
    """The snapshot of a study, and since when it has not changed."""

    snapshot: Snapshot
    since_s: float


class WatchFolder:
    """A folder in which each file and each subfolder is a study, except `done`, `failed` and hidden ones.

    Args:
        folder: the folder.
        quiet_s: a study is complete if it has not changed for this long.
        marker: if given, a study is complete as soon as its folder contains a file of this name; a study that is a
            file, as soon as there is a file with this appended to its name.
        clock: returns seconds.
    """

    def __init__(
        self, folder: Path, quiet_s: float, marker: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._quiet_s = quiet_s
        self._marker = marker
        self._clock = clock
        self._observed: dict[Path, _Observation] = {}

    def scan(self) -> tuple[list[tuple[Path, Snapshot]], int]:
        """The complete studies, oldest first, and the number of incomplete ones."""
        snapshots = {path: take_snapshot(path) for path in self._studies()}
        self._observed = {path: self._observe(path, snapshot) for path, snapshot in snapshots.items() if snapshot}
        complete = [path for path in self._observed if self._is_complete(path)]
        complete.sort(key=lambda path: (self._observed[path].since_s, path))
        return [(path, self._observed[path].snapshot) for path in complete], len(self._observed) - len(complete)

    def _studies(self) -> Iterator[Path]:
        for path in sorted(self._folder.iterdir()):
            name = path.name.lower()
            is_marker = self._marker is not None and path.name.endswith(self._marker) and path.is_file()
            ignored = name in (DONE, FAILED) or is_ignored(name) or name.endswith(UNFINISHED) or is_marker
            if not ignored:
                yield path

    def _observe(self, path: Path, snapshot: Snapshot) -> _Observation:
        before = self._observed.get(path)
        return before if before is not None and before.snapshot == snapshot else _Observation(snapshot, self._clock())

    def _is_complete(self, path: Path) -> bool:
        if self._marker is not None:
            return self.marker_of(path).is_file()
        if any(name.lower().endswith(UNFINISHED) for name, _, _ in self._observed[path].snapshot):
            return False
        return self._clock() - self._observed[path].since_s >= self._quiet_s

    def marker_of(self, path: Path) -> Path:
        """The path of a study's marker."""
        marker = self._marker or ""
        return path / marker if path.is_dir() else path.with_name(path.name + marker)


def take_snapshot(path: Path) -> Snapshot:
    """Name, size and time of each file of a study; it changes whenever the study does."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = []
    for file in files:
        try:
            stat = file.stat()
        except FileNotFoundError:  # moved or renamed during the scan; the next scan sees it
            continue
        found.append((file.name if file is path else str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
    return tuple(found)

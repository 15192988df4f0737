"""Studies that arrive in a folder, and when each of them is complete.

The folder is looked at again and again rather than watched by the kernel: network shares send no events. Changes are
told by sizes and times of files, and counted by the own clock, since that of a share's server may differ.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from metseg.client import is_litter

__all__ = ["DONE", "FAILED", "Arrivals", "Signature", "signature"]

DONE, FAILED = "done", "failed"
UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload", "~")
"""What programs that copy files call the ones that they have not finished."""

Signature = tuple[tuple[str, int, int], ...]


class _Sight(NamedTuple):
    """How a study looked, and since when."""

    signature: Signature
    since_s: float


class Arrivals:
    """The studies in a folder: each file and each folder in it, but for `done`, `failed` and what is hidden.

    Args:
        folder: that is looked at.
        quiet_s: after which a study that does not change is complete.
        marker: if given, a study is complete as soon as this file lies in its folder, or its name with the marker
            added lies beside its file.
        clock: in seconds.
    """

    def __init__(
        self, folder: Path, quiet_s: float, marker: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._quiet_s = quiet_s
        self._marker = marker
        self._clock = clock
        self._seen: dict[Path, _Sight] = {}

    def look(self) -> tuple[list[tuple[Path, Signature]], int]:
        """The complete studies, those first that have waited longest, and how many are still to become so."""
        here = {path: signature(path) for path in self._entries()}
        self._seen = {path: self._sight(path, found) for path, found in here.items() if found}
        complete = [path for path in self._seen if self._complete(path)]
        complete.sort(key=lambda path: (self._seen[path].since_s, path))
        return [(path, self._seen[path].signature) for path in complete], len(self._seen) - len(complete)

    def _entries(self) -> Iterator[Path]:
        for path in sorted(self._folder.iterdir()):
            name = path.name.lower()
            marker = self._marker is not None and path.name.endswith(self._marker) and path.is_file()
            if name not in (DONE, FAILED) and not is_litter(name) and not name.endswith(UNFINISHED) and not marker:
                yield path

    def _sight(self, path: Path, found: Signature) -> _Sight:
        before = self._seen.get(path)
        return before if before is not None and before.signature == found else _Sight(found, self._clock())

    def _complete(self, path: Path) -> bool:
        if self._marker is not None:
            return self.marker_of(path).is_file()
        if any(name.lower().endswith(UNFINISHED) for name, _, _ in self._seen[path].signature):
            return False
        return self._clock() - self._seen[path].since_s >= self._quiet_s

    def marker_of(self, path: Path) -> Path:
        """Where the marker of a study lies."""
        marker = self._marker or ""
        return path / marker if path.is_dir() else path.with_name(path.name + marker)


def signature(path: Path) -> Signature:
    """What changes whenever a study does: name, size and time of each of its files; empty where there is none."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = []
    for file in files:
        try:
            stat = file.stat()
        except FileNotFoundError:  # moved or renamed while we look: the next look sees what it has become
            continue
        found.append((file.name if file is path else str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
    return tuple(found)

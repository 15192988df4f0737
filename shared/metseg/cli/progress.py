"""A progress bar: the number of studies done, including the finished shares of those that run."""

import sys
import threading
from types import TracebackType
from typing import Self

from tqdm import tqdm

__all__ = ["ProgressBar"]

STEP = 0.01


class ProgressBar:
    """Shows progress on stderr if that is a terminal. Thread-safe.

    Args:
        total: number of studies.
    """

    def __init__(self, total: int) -> None:
        layout = "{l_bar}{bar}| {n:.1f}/{total} studies [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(total=total, file=sys.stderr, disable=None, bar_format=layout, dynamic_ncols=True, leave=False)
        self._shares: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(self, name: str, share: float) -> None:
        """Update the progress of one study.

        Args:
            name: of the study.
            share: of it that is done, from 0 to 1.
        """
        with self._lock:
            step = share - self._shares.get(name, 0.0)
            if step >= STEP or share in (0.0, 1.0):
                self._shares[name] = share
                self._bar.update(step)

    def write(self, text: str, error: bool = False) -> None:
        """Write a line above the bar.

        Args:
            text: the line.
            error: whether it goes to stderr instead of stdout.
        """
        with self._lock, self._bar.external_write_mode(file=sys.stderr):
            print(text, file=sys.stderr if error else sys.stdout, flush=True)

"""What a reader sees of a job while it runs: now and then the latest slice that is done, with what is marked so far.

A job of a second or less has no glimpse and pays nothing for it; a longer one pays for one small picture a second.
"""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from metseg import pictures
from metseg.volume import Volume

__all__ = ["EVERY_S", "Glimpses"]

EVERY_S = 1.0


class Glimpses:
    """Draws slices of a study while it is segmented.

    Args:
        volume: the study.
        threshold: from which a pixel is marked.
        keep: is given each picture, a PNG.
        clock: tells seconds.
    """

    def __init__(
        self,
        volume: Volume,
        threshold: float,
        keep: Callable[[bytes], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volume, self._threshold, self._keep, self._clock = volume, threshold, keep, clock
        self._last_s = clock()
        self._window: tuple[float, float] | None = None

    def __call__(self, index: int, probability: npt.NDArray[np.float32]) -> None:
        """A slice is done, with its map, (row, column); it is drawn where it is time."""
        if self._clock() - self._last_s < EVERY_S:
            return
        if self._window is None:
            self._window = pictures.window(pictures.of_channel(self._volume, pictures.FLAIR))
        shown = pictures.windowed(self._volume.pixels[index, ..., pictures.FLAIR], *self._window)[..., None]
        marked = probability >= self._threshold
        self._keep(pictures.encode_png(pictures.overlay(shown, marked, channel=0, opacity=1.0, contour=True)))
        self._last_s = self._clock()

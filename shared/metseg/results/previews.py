"""What a reader sees of a job while it runs: the latest slice that is done, and those before it filling a sheet.

A job of a second or less has no glimpse and pays nothing for it. A longer one pays for one picture a second; of a study
of many slices the sheet shows some, so that the whole of it costs the drawing of `MOST_CELLS` small slices.
"""

import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from metseg.imaging import FLAIR, Volume, rendering
from metseg.results.exports import outline_slice

__all__ = ["EVERY_S", "Glimpses"]

EVERY_S = 1.0
HEIGHT_PX, SHEET_PX, GAP_PX = 480, 640, 4
MOST_CELLS = 48
EMPTY, GROUND = (38, 48, 54), (0, 0, 0)


class Glimpses:
    """Draws slices of a study while it is segmented.

    Args:
        volume: the study.
        threshold: from which a pixel is marked.
        keep: is given each picture, a PNG: on its left the latest slice, on its right those so far, in order.
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
        self._sheet = _Sheet(len(volume.pixels))
        self._due: list[tuple[int, npt.NDArray[np.uint8]]] = []
        """Slices that are done and not drawn yet, and a bit for each pixel that is marked."""

    def __call__(self, index: int, probability: npt.NDArray[np.float32]) -> None:
        """A slice is done, with its map, (row, column); it is drawn where it is time."""
        marked = probability >= self._threshold
        if self._sheet.shows(index):
            self._due.append((index, np.packbits(marked)))
        if self._clock() - self._last_s < EVERY_S:
            return
        for each, bits in self._due:
            its = np.unpackbits(bits, count=marked.size).reshape(marked.shape).astype(bool)
            self._sheet.put(each, self._framed(each, its, self._sheet.side_px, 1))
        self._due.clear()
        latest = _padded(self._framed(index, marked, HEIGHT_PX, 2), HEIGHT_PX)
        self._keep(rendering.encode_png(np.concatenate([latest, self._sheet.pixels], axis=1)))
        self._last_s = self._clock()

    def _framed(self, index: int, marked: npt.NDArray[np.bool_], side_px: int, line_px: int) -> npt.NDArray[np.uint8]:
        if self._window is None:
            self._window = rendering.estimate_window(rendering.channel_values(self._volume, FLAIR))
        shown = rendering.apply_window(self._volume.pixels[index, ..., FLAIR], *self._window)
        return outline_slice(shown, marked, self._volume.spacing_mm, side_px, line_px)


class _Sheet:
    """Small slices in rows, as many as there is room for; what is not done yet is an empty tile."""

    def __init__(self, slices: int) -> None:
        self._step = -(-slices // MOST_CELLS)
        self._cells = cells = -(-slices // self._step)
        self._pitch, self._across = max(
            (min(SHEET_PX // across, HEIGHT_PX // -(-cells // across)), across) for across in range(1, cells + 1)
        )
        self.side_px = self._pitch - GAP_PX

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The sheet, (row, column, colour); made when it is first drawn on."""
        sheet = np.full((HEIGHT_PX, SHEET_PX, 3), GROUND, np.uint8)
        for cell in range(self._cells):
            self._tile(sheet, cell)[...] = EMPTY
        return sheet

    def shows(self, index: int) -> bool:
        """Whether a slice has a tile."""
        return index % self._step == 0

    def put(self, index: int, picture: npt.NDArray[np.uint8]) -> None:
        """A slice into its tile."""
        self._tile(self.pixels, index // self._step)[...] = _padded(picture, self.side_px)

    def _tile(self, sheet: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.uint8]:
        top, left = (at * self._pitch + GAP_PX for at in divmod(cell, self._across))
        return sheet[top : top + self.side_px, left : left + self.side_px]


def _padded(picture: npt.NDArray[np.uint8], side_px: int) -> npt.NDArray[np.uint8]:
    """The picture in the middle of a square."""
    square = np.full((side_px, side_px, 3), GROUND, np.uint8)
    rows, columns = picture.shape[:2]
    top, left = (side_px - rows) // 2, (side_px - columns) // 2
    square[top : top + rows, left : left + columns] = picture
    return square

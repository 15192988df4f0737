"""Previews of a job while it runs: the latest slice that is done, and a contact sheet of those before it.

A job of a second or less has no preview. A longer one can have one image per second, drawn if somebody looks at it. The
sheet shows some of the slices of a large study, so that it never costs more than `MAX_TILES` small slices.
"""

import time
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from metseg.contracts import OperatingPoint, Structure
from metseg.imaging import (
    Float32Array,
    UInt8Array,
    Volume,
    rendering,
    select_components,
    threshold_levels,
)
from metseg.results.exports import outline_slice, outlined_channel

__all__ = ["INTERVAL_S", "OnPreview", "Previews"]

OnPreview = Callable[[Callable[[], bytes]], None]
"""Takes what draws a preview, a PNG."""

INTERVAL_S = 1.0
HEIGHT_PX, SHEET_PX, GAP_PX = 480, 640, 4
MAX_TILES = 48
EMPTY_TILE, BACKGROUND = (38, 48, 54), (0, 0, 0)


class Previews:
    """Draws slices of a study while it is segmented.

    Args:
        volume: the study.
        structure: that is outlined, on the sequence that defines it.
        point: how its mask is made. A component is outlined in slices where its seed lies; how large it is, is known
            at the end alone.
        on_preview: called each second with a function that draws a PNG: the latest slice on the left, those so far on
            the right, in order. It may be called until the next slice is taken.
        clock: returns seconds.
    """

    def __init__(
        self,
        volume: Volume,
        structure: Structure,
        point: OperatingPoint,
        on_preview: OnPreview,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volume, self._point, self._on_preview, self._clock = volume, point, on_preview, clock
        self._channel = outlined_channel(structure)
        self._last_s = clock()
        self._window: tuple[float, float] | None = None
        self._sheet = _ContactSheet(len(volume.pixels))
        self._pending: list[tuple[int, UInt8Array]] = []
        """Slices that are done and not drawn yet, each with its levels in two bits per pixel."""

    def __call__(self, index: int, probability: Float32Array) -> None:
        """Take a slice that is done; offer a preview if the last one is a second old.

        Args:
            index: of the slice.
            probability: its map, (row, column).
        """
        levels = threshold_levels(probability, self._point.threshold, self._point.seed_threshold)
        if self._sheet.has_tile(index):
            self._pending.append((index, np.packbits([levels > 0, levels > 1])))
        if self._clock() - self._last_s < INTERVAL_S:
            return
        self._on_preview(partial(self._picture, index, levels))
        self._last_s = self._clock()

    def _picture(self, index: int, levels: UInt8Array) -> bytes:
        """A PNG of a slice and of those before it."""
        for pending, bits in self._pending:
            unpacked = np.unpackbits(bits, count=2 * levels.size).reshape(2, *levels.shape).sum(axis=0, dtype=np.uint8)
            self._sheet.put(pending, self._draw(pending, unpacked, self._sheet.side_px, 1))
        self._pending.clear()
        latest = _pad_to_square(self._draw(index, levels, HEIGHT_PX, 2), HEIGHT_PX)
        return rendering.encode_png(np.concatenate([latest, self._sheet.pixels], axis=1))

    def _draw(self, index: int, levels: UInt8Array, side_px: int, line_px: int) -> UInt8Array:
        if self._window is None:
            self._window = rendering.estimate_window(rendering.channel_values(self._volume, self._channel))
        pixels = rendering.apply_window(self._volume.pixels[index, ..., self._channel], *self._window)
        [mask] = select_components(levels[np.newaxis])
        return outline_slice(pixels, mask, self._volume.spacing_mm, side_px, line_px)


class _ContactSheet:
    """Small slices in rows, as many as there is room for; a slice that is not done is an empty tile."""

    def __init__(self, slices: int) -> None:
        self._step = -(-slices // MAX_TILES)
        self._tiles = tiles = -(-slices // self._step)
        self._pitch, self._across = max(
            (min(SHEET_PX // across, HEIGHT_PX // -(-tiles // across)), across) for across in range(1, tiles + 1)
        )
        self.side_px = self._pitch - GAP_PX

    @cached_property
    def pixels(self) -> UInt8Array:
        """The sheet, (row, column, colour); made when it is first drawn on."""
        sheet = np.full((HEIGHT_PX, SHEET_PX, 3), BACKGROUND, np.uint8)
        for tile in range(self._tiles):
            self._tile(sheet, tile)[...] = EMPTY_TILE
        return sheet

    def has_tile(self, index: int) -> bool:
        """Whether a slice has a tile."""
        return index % self._step == 0

    def put(self, index: int, image: UInt8Array) -> None:
        """Draw a slice into its tile.

        Args:
            index: of the slice.
            image: RGB, no side longer than `side_px`.
        """
        self._tile(self.pixels, index // self._step)[...] = _pad_to_square(image, self.side_px)

    def _tile(self, sheet: UInt8Array, tile: int) -> UInt8Array:
        top, left = (position * self._pitch + GAP_PX for position in divmod(tile, self._across))
        return sheet[top : top + self.side_px, left : left + self.side_px]


def _pad_to_square(image: UInt8Array, side_px: int) -> UInt8Array:
    """The image in the middle of a square."""
    square = np.full((side_px, side_px, 3), BACKGROUND, np.uint8)
    rows, columns = image.shape[:2]
    top, left = (side_px - rows) // 2, (side_px - columns) // 2
    square[top : top + rows, left : left + columns] = image
    return square

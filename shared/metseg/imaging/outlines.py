"""The outlines of a mask as closed polygons along the edges of its pixels, for planning systems.

The polygons enclose exactly the pixels of the mask, so that the area within them is the mask's, and whether the middle
of a pixel is inside does not depend on rounding. OpenCV's and scikit-image's contours run through the middles of pixels
or cut their corners, by which a small lesion loses much of its area.
"""

from collections.abc import Iterator

import numpy as np

from metseg.imaging.arrays import Float64Array, Mask

__all__ = ["outline_polygons"]

RIGHT, DOWN, LEFT, UP = range(4)
STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
"""(row, column) of each direction; clockwise, so that the next one is a turn to the right."""


def outline_polygons(mask: Mask) -> list[Float64Array]:
    """Trace the outlines of a mask.

    Pixels that share an edge are of one polygon. A hole is joined to what surrounds it by a channel without width (a
    keyhole, PS3.3 C.8.8.6.3), which runs along a row of pixel edges and so through the middle of none.

    Args:
        mask: bool, (row, column).

    Returns:
        The corners of each polygon, (corner, row and column), in pixels from the middle of the first one; the last
        corner is joined to the first.
    """
    edges = _Edges(mask)
    loops = [list(edges.follow(start)) for start in edges.loops()]
    for hole in sorted(filter(edges.is_hole, loops), key=lambda loop: min(map(edges.start, loop))):
        edges.join_to_surroundings(hole)
    return [edges.corners(start) - 0.5 for start in edges.loops()]


class _Edges:
    """The edges between mask and background, each with the mask on its right, linked into loops.

    An edge is a number: its direction and the pixel corner that it starts at.
    """

    def __init__(self, mask: Mask) -> None:
        padded = np.pad(mask, 1)
        above, below = padded[:-1, 1:], padded[1:, 1:]
        left, right = padded[1:, :-1], padded[1:, 1:]
        present = np.zeros((4, mask.shape[0] + 1, mask.shape[1] + 1), bool)
        present[RIGHT] = below & ~above
        present[DOWN] = left & ~right
        present[LEFT, :, 1:] = (above & ~below)[:, :-1]
        present[UP, 1:] = (right & ~left)[:-1]
        self._present = present
        self._columns: int = mask.shape[1] + 1
        self._corners: int = (mask.shape[0] + 1) * self._columns
        self._ids = np.flatnonzero(present)
        self._next = self._link()
        self._previous = {after: edge for edge, after in self._next.items()}

    def start(self, edge: int) -> tuple[int, int]:
        """The corner, (row, column), that an edge starts at."""
        return divmod(edge % self._corners, self._columns)

    def end(self, edge: int) -> tuple[int, int]:
        """The corner that an edge ends at."""
        row, column = self.start(edge)
        down, right = STEPS[self._direction(edge)].tolist()
        return row + down, column + right

    def loops(self) -> Iterator[int]:
        """An edge of each loop."""
        left = dict.fromkeys(self._ids.tolist())
        while left:
            start = next(iter(left))
            for edge in self.follow(start):
                del left[edge]
            yield start

    def follow(self, start: int) -> Iterator[int]:
        """The edges of a loop."""
        edge = start
        while True:
            yield edge
            edge = self._next[edge]
            if edge == start:
                return

    def is_hole(self, loop: list[int]) -> bool:
        """Whether a loop that joins nothing yet has the mask around it: then its first row of edges leads left."""
        return self._direction(min(loop, key=lambda edge: (*self.start(edge), self._direction(edge)))) != RIGHT

    def join_to_surroundings(self, hole: list[int]) -> None:
        """Link a hole, from its first corner straight to the left, into the loop that is met there."""
        first = min(hole, key=self.start)
        row, column = self.start(first)
        while True:
            column -= 1
            if (met := self._starting_at(row, column)) is not None:
                break
        before_first, before_met = self._previous[first], self._previous[met]
        for edge, after in ((before_met, first), (before_first, met)):
            self._next[edge], self._previous[after] = after, edge

    def corners(self, start: int) -> Float64Array:
        """The corners of a loop where it turns."""
        found = []
        for edge in self.follow(start):
            after = self._next[edge]
            if self.end(edge) != self.start(after):  # a channel
                found += [self.end(edge), self.start(after)]
            elif self._direction(edge) != self._direction(after):
                found.append(self.start(after))
        return np.array(found, np.float64)

    def _direction(self, edge: int) -> int:
        return edge // self._corners

    def _starting_at(self, row: int, column: int) -> int | None:
        """An edge that starts at a corner and that no channel leads to."""
        for direction in np.flatnonzero(self._present[:, row, column]).tolist():
            edge = int(np.ravel_multi_index((direction, row, column), self._present.shape))
            if self.end(self._previous[edge]) == (row, column):
                return edge
        return None

    def _link(self) -> dict[int, int]:
        """Each edge's successor: to the right where two start at a corner, which keeps pixels that only touch apart."""
        direction, row, column = np.unravel_index(self._ids, self._present.shape)
        row, column = row + STEPS[direction, 0], column + STEPS[direction, 1]
        after = np.full(len(self._ids), -1)
        for turn in (-1, 0, 1):  # the last one that exists counts
            turned = (direction + turn) % 4
            exists = self._present[turned, row, column]
            after[exists] = np.ravel_multi_index((turned, row, column), self._present.shape)[exists]
        return dict(zip(self._ids.tolist(), after.tolist(), strict=True))

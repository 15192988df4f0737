"""Shapes: where a scan's voxels lie, smooth noise over them, and signed distances to what is drawn there."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FAR", "Floats", "Grid", "ellipsoid", "pipe"]

Floats = npt.NDArray[np.float32]
Point = tuple[float, float, float]

FAR = -99.0
MARGIN_MM = 12.0
"""How far from a shape its distance is computed."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a scan lie in the head, in millimetres: x, y and z, each (slice, row, column)."""

    x: Floats
    y: Floats
    z: Floats
    pixel_mm: float

    def noise(self, rng: np.random.Generator, wavelength_mm: float) -> Floats:
        """Smooth noise of deviation 1: cubic B-splines with random weights, `wavelength_mm` apart."""
        spans = [float(np.ptp(axis)) / wavelength_mm for axis in (self.z[:, 0, 0], self.y[0, :, 0], self.x[0, 0])]
        field = rng.standard_normal([int(span) + 5 for span in spans], dtype=np.float32) * np.float32(3)
        for axis, (count, span) in enumerate(zip(self.z.shape, spans, strict=True)):
            field = _splines(field, axis, count, span)
        return field

    def warped(self, rng: np.random.Generator, by_mm: float, wavelength_mm: float) -> "Grid":
        """The grid, bent smoothly."""
        x, y, z = (axis + np.float32(by_mm) * self.noise(rng, wavelength_mm) for axis in (self.x, self.y, self.z))
        return Grid(x, y, z, self.pixel_mm)


def _splines(knots: Floats, axis: int, count: int, spans: float) -> Floats:
    """Cubic B-splines along an axis: `count` samples spread over `spans` of its knots.

    By hand, as a matrix product would start threads that fight over the cores with those who call us.
    """
    at = np.linspace(0, spans, count)
    first = at.astype(int)
    rest = (at - first).astype(np.float32).reshape([-1 if side == axis else 1 for side in range(3)])
    weights = (
        (1 - rest) ** 3 / 6,
        2 / 3 - rest**2 + rest**3 / 2,
        2 / 3 - (1 - rest) ** 2 + (1 - rest) ** 3 / 2,
        rest**3 / 6,
    )
    samples: Floats = sum(weight * knots.take(first + knot, axis) for knot, weight in enumerate(weights))
    return samples


def _levels(grid: Grid, *heights: float) -> slice:
    """The slices near some heights; what lies further away need not be computed."""
    level = grid.z[:, 0, 0]
    (inside,) = np.nonzero((level > min(heights) - MARGIN_MM) & (level < max(heights) + MARGIN_MM))
    return slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0)


def ellipsoid(grid: Grid, centre: Point, radii: Point) -> Floats:
    """Signed distance, to first order, to an ellipsoid; `FAR` beyond its slices."""
    distance = np.full(grid.x.shape, FAR, np.float32)
    levels = _levels(grid, centre[2] - radii[2], centre[2] + radii[2])
    x, y, z = grid.x[levels] - centre[0], grid.y[levels] - centre[1], grid.z[levels] - centre[2]
    a, b, c = (np.float32(radius**-2) for radius in radii)
    squares = x * x * a + y * y * b + z * z * c
    slope = np.sqrt(x * x * a * a + y * y * b * b + z * z * c * c) + np.float32(1e-4)
    distance[levels] = (1 - squares) / (2 * slope)
    return distance


def pipe(grid: Grid, start: Point, end: Point, radius: float) -> Floats:
    """Signed distance to a pipe with round ends; `FAR` beyond its slices."""
    distance = np.full(grid.x.shape, FAR, np.float32)
    levels = _levels(grid, start[2] - radius, start[2] + radius, end[2] - radius, end[2] + radius)
    away = np.subtract(end, start)
    x, y, z = grid.x[levels] - start[0], grid.y[levels] - start[1], grid.z[levels] - start[2]
    a, b, c = (np.float32(part) for part in away / (away @ away))
    share = np.clip(x * a + y * b + z * c, 0, 1)
    x, y, z = x - share * np.float32(away[0]), y - share * np.float32(away[1]), z - share * np.float32(away[2])
    distance[levels] = np.float32(radius) - np.sqrt(x * x + y * y + z * z)
    return distance

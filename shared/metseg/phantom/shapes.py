"""Shapes: the coordinates of a scan's voxels, smooth noise over them, and signed distances to shapes."""

from dataclasses import dataclass

import numpy as np

from metseg.imaging import Float32Array

__all__ = ["FAR", "Coordinates", "Point", "capsule", "ellipsoid"]

Point = tuple[float, float, float]

FAR = -99.0
MARGIN_MM = 12.0
"""How far from a shape its distance is computed."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The positions of a scan's voxels in the head, in millimetres.

    Attributes:
        x: to the patient's left, (slice, row, column).
        y: to the back, the same shape.
        z: to the vertex, the same shape.
        pixel_mm: the mean size of a pixel.
    """

    x: Float32Array
    y: Float32Array
    z: Float32Array
    pixel_mm: float

    def noise(self, rng: np.random.Generator, wavelength_mm: float) -> Float32Array:
        """Smooth noise of deviation 1: cubic B-splines with random weights.

        Args:
            rng: draws the weights.
            wavelength_mm: between two knots.

        Returns:
            float32, (slice, row, column).
        """
        spans = [float(np.ptp(axis)) / wavelength_mm for axis in (self.z[:, 0, 0], self.y[0, :, 0], self.x[0, 0])]
        field = rng.standard_normal([int(span) + 5 for span in spans], dtype=np.float32) * np.float32(3)
        for axis, (count, span) in enumerate(zip(self.z.shape, spans, strict=True)):
            field = _splines(field, axis, count, span)
        return field

    def warp(self, rng: np.random.Generator, deviation_mm: float, wavelength_mm: float) -> "Coordinates":
        """Deform the coordinates smoothly.

        Args:
            rng: draws the deformation.
            deviation_mm: of the displacement along each axis.
            wavelength_mm: of the displacement.

        Returns:
            New coordinates.
        """
        x, y, z = (
            axis + np.float32(deviation_mm) * self.noise(rng, wavelength_mm) for axis in (self.x, self.y, self.z)
        )
        return Coordinates(x, y, z, self.pixel_mm)


def _splines(knots: Float32Array, axis: int, count: int, spans: float) -> Float32Array:
    """Cubic B-splines along an axis: `count` samples spread over `spans` of its knots.

    Written out, since a matrix product would start threads that compete with the caller's for the cores.
    """
    position = np.linspace(0, spans, count)
    first = position.astype(int)
    rest = (position - first).astype(np.float32).reshape([-1 if side == axis else 1 for side in range(3)])
    weights = (
        (1 - rest) ** 3 / 6,
        2 / 3 - rest**2 + rest**3 / 2,
        2 / 3 - (1 - rest) ** 2 + (1 - rest) ** 3 / 2,
        rest**3 / 6,
    )
    samples: Float32Array = sum(weight * knots.take(first + knot, axis) for knot, weight in enumerate(weights))
    return samples


def _levels(at: Coordinates, *heights: float) -> slice:
    """The slices near some heights; others need not be computed."""
    level = at.z[:, 0, 0]
    (inside,) = np.nonzero((level > min(heights) - MARGIN_MM) & (level < max(heights) + MARGIN_MM))
    return slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0)


def ellipsoid(at: Coordinates, centre: Point, radii: Point) -> Float32Array:
    """Signed distance, to first order, to an ellipsoid.

    Args:
        at: the voxels.
        centre: x, y, z in millimetres.
        radii: along x, y, z in millimetres.

    Returns:
        float32 millimetres, positive inside; `FAR` outside its slices.
    """
    distance = np.full(at.x.shape, FAR, np.float32)
    levels = _levels(at, centre[2] - radii[2], centre[2] + radii[2])
    x, y, z = at.x[levels] - centre[0], at.y[levels] - centre[1], at.z[levels] - centre[2]
    a, b, c = (np.float32(radius**-2) for radius in radii)
    squares = x * x * a + y * y * b + z * z * c
    slope = np.sqrt(x * x * a * a + y * y * b * b + z * z * c * c) + np.float32(1e-4)
    distance[levels] = (1 - squares) / (2 * slope)
    return distance


def capsule(at: Coordinates, start: Point, end: Point, radius: float) -> Float32Array:
    """Signed distance to a capsule: a cylinder with round ends.

    Args:
        at: the voxels.
        start: x, y, z of one end in millimetres.
        end: of the other.
        radius: in millimetres.

    Returns:
        float32 millimetres, positive inside; `FAR` outside its slices.
    """
    distance = np.full(at.x.shape, FAR, np.float32)
    levels = _levels(at, start[2] - radius, start[2] + radius, end[2] - radius, end[2] + radius)
    away = np.subtract(end, start)
    x, y, z = at.x[levels] - start[0], at.y[levels] - start[1], at.z[levels] - start[2]
    a, b, c = (np.float32(part) for part in away / (away @ away))
    share = np.clip(x * a + y * b + z * c, 0, 1)
    x, y, z = x - share * np.float32(away[0]), y - share * np.float32(away[1]), z - share * np.float32(away[2])
    distance[levels] = np.float32(radius) - np.sqrt(x * x + y * y + z * z)
    return distance

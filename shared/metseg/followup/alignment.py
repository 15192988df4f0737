"""The heads of all studies onto that of the first."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from metseg.contracts import VisitRegistration
from metseg.errors import NotComparable
from metseg.followup.time_points import TimePoint
from metseg.imaging import CHANNELS, Affine, Float64Array, SpatialImage, find_visit_motion, map_points

__all__ = ["Alignment", "align", "unmoved"]

MAX_DISAGREEMENT_MM = 3.0
"""Between the registrations in both directions; beyond it neither is believed."""
RETRIED_FROM_MM = 1.0
"""Beyond it both are repeated from halfway between them: one may have ended in a local optimum."""
GRID_POINTS = 8


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a study lies to the first one.

    Attributes:
        from_first: (4, 4), from RAS+ millimetres of the first study to those of this one.
        registration: for the result; None of the first study.
        warnings: for the reader.
    """

    from_first: Affine
    registration: VisitRegistration | None = None
    warnings: tuple[str, ...] = ()

    def from_first_mm(self, points: Float64Array) -> Float64Array:
        """Points of the first study, (point, 3), in this one's millimetres."""
        return map_points(self.from_first, points)

    def to_first_mm(self, points: Float64Array) -> Float64Array:
        """Points of this study, (point, 3), in the first one's millimetres."""
        return map_points(_inverse(self.from_first), points)


def unmoved() -> Alignment:
    """The alignment of the first study."""
    return Alignment(np.eye(4))


def align(first: TimePoint, other: TimePoint, place: int, threads: int = 1) -> Alignment:
    """Register a study to the first one, in both directions.

    Args:
        first: the first study.
        other: a later one.
        place: its place in the follow-up, from 1, for messages.
        threads: for resampling.

    Returns:
        How the later study lies.

    Raises:
        NotComparable: the heads cannot be registered, or the two directions disagree.
    """
    channels = first.common_channels(other)
    one, two = (
        SpatialImage(study.pixels[..., channel], study.affine)
        for study, channel in zip((first, other), channels, strict=True)
    )
    points = _points(first)
    found = _both_ways(one, two, points, threads)
    if found is not None and found[1] > RETRIED_FROM_MM:
        found = _both_ways(one, two, points, threads, found[0])
    if found is None or found[1] > MAX_DISAGREEMENT_MM:
        raise NotComparable(
            f"Study {place} cannot be registered to the first one; check that both are of one patient's whole head."
        )
    matrix, disagreement_mm = found
    middle = map_points(first.affine, (np.array([first.labels.shape[::-1]]) - 1) / 2)
    registration = VisitRegistration(
        moved_mm=round(float(np.linalg.norm(map_points(matrix, middle) - middle)), 2),
        turned_degrees=round(math.degrees(Rotation.from_matrix(matrix[:3, :3]).magnitude()), 2),
        disagreement_mm=round(disagreement_mm, 2),
        from_first=_rows(matrix),
    )
    return Alignment(matrix, registration, _warnings(channels, place))


def _both_ways(
    one: SpatialImage, two: SpatialImage, points: Float64Array, threads: int, guess: Affine | None = None
) -> tuple[Affine, float] | None:
    """What lies halfway between the registrations in both directions, and their mean distance at some points."""
    there = find_visit_motion(one, two, threads, guess=guess)
    back = find_visit_motion(two, one, threads, guess=None if guess is None else _inverse(guess))
    if there is None or back is None:
        return None
    disagreement_mm = float(np.linalg.norm(map_points(back @ there, points) - points, axis=1).mean())
    return _midway(there, _inverse(back)), disagreement_mm


def _midway(one: Affine, other: Affine) -> Affine:
    """The motion halfway between two that hardly differ.

    Mutual information draws the image that is resampled to one side, so that the registrations in the two directions
    err in opposite ways, between sequences by a millimetre and more.
    """
    rest = _inverse(one) @ other
    half = np.eye(4)
    half[:3, :3] = Rotation.from_rotvec(Rotation.from_matrix(rest[:3, :3]).as_rotvec() / 2).as_matrix()
    half[:3, 3] = rest[:3, 3] / 2
    return one @ half


def _inverse(matrix: Affine) -> Affine:
    return np.linalg.inv(matrix).astype(np.float64)


def _warnings(channels: tuple[int, int], place: int) -> tuple[str, ...]:
    if channels[0] == channels[1]:
        return ()
    ours, theirs = (CHANNELS[channel] for channel in channels)
    return (
        f"Study {place} and the first one have no sequence in common; {theirs} was registered to {ours}, which is less "
        "exact.",
    )


def _points(study: TimePoint) -> Float64Array:
    """Points all over the bright part of a scan, in millimetres."""
    steps = [max(1, side // GRID_POINTS) for side in study.labels.shape]
    thinned = study.pixels[:: steps[0], :: steps[1], :: steps[2]].max(axis=-1)
    indices = np.argwhere(thinned > thinned.mean()) * steps
    return map_points(study.affine, indices[:, ::-1])


def _rows(matrix: Affine) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)

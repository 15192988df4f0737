"""The heads of all studies onto that of the first."""

from dataclasses import dataclass

import numpy as np

from metseg.contracts import VisitRegistration
from metseg.errors import NotComparable
from metseg.followup.time_points import TimePoint
from metseg.imaging import CHANNELS, Affine, Float64Array, SpatialImage, find_visit_motion, map_points

__all__ = ["Alignment", "align", "unmoved"]

MAX_DISAGREEMENT_MM = 3.0
"""Between the registrations in both directions; beyond it neither is believed."""
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
        return map_points(np.linalg.inv(self.from_first).astype(np.float64), points)


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
    there, back = find_visit_motion(one, two, threads), find_visit_motion(two, one, threads)
    refusal = f"Study {place} cannot be registered to the first one; check that both are of one patient's whole head."
    if there is None or back is None:
        raise NotComparable(refusal)
    (matrix, motion), (inverse, _) = there, back
    points = _points(first)
    disagreement = np.linalg.norm(map_points(inverse @ matrix, points) - points, axis=1).mean()
    if disagreement > MAX_DISAGREEMENT_MM:
        raise NotComparable(refusal)
    registration = VisitRegistration(
        moved_mm=round(motion.translation_mm, 2),
        turned_degrees=round(motion.rotation_degrees, 2),
        disagreement_mm=round(float(disagreement), 2),
        from_first=_rows(matrix),
    )
    return Alignment(matrix, registration, _warnings(channels, place))


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

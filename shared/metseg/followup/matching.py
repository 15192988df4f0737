"""Which lesion of an earlier study is which lesion of a later one.

Lesions overlap where the registration puts them. The pairs that share most volume in all are matched one to one (the
assignment problem; Kuhn, Naval Research Logistics Quarterly 1955). What is left and lies within a lesion that is
matched already has merged into it, or was split from it. Of the rest, the nearest pairs within the error of
registration and slices are matched, since a small lesion may be missed by a millimetre.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from metseg.followup.alignment import Alignment
from metseg.followup.time_points import TimePoint
from metseg.imaging import Float64Array

__all__ = ["Earlier", "Match", "match_lesions"]

MIN_SHARED = 0.1
"""Of the smaller lesion of a pair."""
MIN_INSIDE = 0.5
"""Of a lesion that merged into another, or was split from it."""
MAX_GAP_MM = 2.0
"""Between lesions that do not overlap, in addition to half of the larger voxel."""
MIN_COVERED = 0.5
"""Of a lesion's place, for a scan to say that it is gone or new."""


@dataclass(frozen=True, eq=False)
class Earlier:
    """A lesion when it was seen last.

    Attributes:
        points_mm: its voxels as RAS+ millimetres of the first study, (voxel, 3).
        study: that shows it.
        alignment: of that study.
        number: of the lesion there.
        present: whether it was there at the date before; else it is gone, and only a return is looked for.
    """

    points_mm: Float64Array
    study: TimePoint
    alignment: Alignment
    number: int
    present: bool = True


@dataclass(frozen=True)
class Match:
    """What became of the earlier lesions, each called by its place in their sequence.

    Attributes:
        same: the later lesion that each earlier one is.
        merged: the later lesion that each earlier one has merged into; another earlier one is the same as that.
        split: the earlier lesion that each later one was a part of.
        uncovered: earlier lesions whose place the later scan does not show.
        uncovered_before: later lesions whose place no earlier scan shows.
    """

    same: Mapping[int, int]
    merged: Mapping[int, int]
    split: Mapping[int, int]
    uncovered: Collection[int]
    uncovered_before: Collection[int]


def match_lesions(
    earlier: Sequence[Earlier], before: Sequence[tuple[TimePoint, Alignment]], study: TimePoint, alignment: Alignment
) -> Match:
    """Match the lesions of a study with those seen before.

    Args:
        earlier: each lesion when it was seen last.
        before: all earlier studies.
        study: the later study.
        alignment: of the later study.

    Returns:
        What became of each lesion.
    """
    numbers = [lesion.number for lesion in study.result.lesions]
    volumes = np.array([len(one.points_mm) * one.study.voxel_mm3 for one in earlier])
    later_volumes = np.array([len(study.voxels[number]) * study.voxel_mm3 for number in numbers])
    shared, uncovered = _shared_mm3(earlier, study, alignment, numbers)
    same = _assign(shared, volumes, later_volumes)
    taken = set(same.values())
    lost = [row for row, one in enumerate(earlier) if one.present and row not in same]
    merged = {row: column for row, column in _within(shared, volumes, lost) if column in taken}
    unmatched = [column for column in range(len(numbers)) if column not in taken]
    split = {column: row for column, row in _within(shared.T, later_volumes, unmatched) if row in same}
    left = [row for row in range(len(earlier)) if row not in same and row not in merged and row not in uncovered]
    free = [column for column in unmatched if column not in split]
    same |= _nearest(earlier, left, study, alignment, [(column, numbers[column]) for column in free])
    unseen = _not_covered(before, study, alignment, [numbers[one] for one in free if one not in same.values()])
    return Match(
        same={row: numbers[column] for row, column in same.items()},
        merged={row: numbers[column] for row, column in merged.items()},
        split={numbers[column]: row for column, row in split.items()},
        uncovered=uncovered - set(same) - set(merged),
        uncovered_before=unseen,
    )


def _shared_mm3(
    earlier: Sequence[Earlier], study: TimePoint, alignment: Alignment, numbers: Sequence[int]
) -> tuple[Float64Array, set[int]]:
    """The volume that each pair shares, (earlier, later), as the mean over both grids; and what is not covered."""
    shared = np.zeros((len(earlier), len(numbers)))
    uncovered = set()
    column_of = {number: column for column, number in enumerate(numbers)}
    in_first = {number: alignment.to_first_mm(study.voxels[number]) for number in numbers}
    for row, one in enumerate(earlier):
        labels, covered = study.labels_at(alignment.from_first_mm(one.points_mm))
        if covered.mean() < MIN_COVERED:
            uncovered.add(row)
        for number in np.unique(labels[labels > 0]).tolist():
            back, _ = one.study.labels_at(one.alignment.from_first_mm(in_first[number]))
            ours = np.count_nonzero(labels == number) * one.study.voxel_mm3
            theirs = np.count_nonzero(back == one.number) * study.voxel_mm3
            shared[row, column_of[number]] = (ours + theirs) / 2
    return shared, uncovered


def _assign(shared: Float64Array, volumes: Float64Array, later_volumes: Float64Array) -> dict[int, int]:
    """The pairs, one to one, that share most."""
    if not shared.size:
        return {}
    least = MIN_SHARED * np.minimum(volumes[:, None], later_volumes)
    enough = np.where(shared >= least, shared, 0)
    pairs = zip(*(side.tolist() for side in linear_sum_assignment(enough, maximize=True)), strict=True)
    return {row: column for row, column in pairs if enough[row, column] > 0}


def _within(shared: Float64Array, volumes: Float64Array, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Of some rows, those that lie within a column for the most part, each with that column."""
    for row in rows:
        column = int(shared[row].argmax()) if shared.shape[1] else 0
        if shared.shape[1] and shared[row, column] >= MIN_INSIDE * volumes[row]:
            yield row, column


def _nearest(
    earlier: Sequence[Earlier],
    left: Sequence[int],
    study: TimePoint,
    alignment: Alignment,
    free: Sequence[tuple[int, int]],
) -> dict[int, int]:
    """Pairs of lesions that do not overlap but lie within the error of their places, the nearest first."""
    gaps = []
    trees = {column: cKDTree(alignment.to_first_mm(study.voxels[number])) for column, number in free}
    for row in left:
        largest_mm = max(*earlier[row].study.spacing_mm, *study.spacing_mm)
        for column, tree in trees.items():
            gap_mm = float(tree.query(earlier[row].points_mm)[0].min())
            if gap_mm <= MAX_GAP_MM + largest_mm / 2:
                gaps.append((gap_mm, row, column))
    found: dict[int, int] = {}
    for _, row, column in sorted(gaps):
        if row not in found and column not in found.values():
            found[row] = column
    return found


def _not_covered(
    before: Sequence[tuple[TimePoint, Alignment]], study: TimePoint, alignment: Alignment, numbers: Sequence[int]
) -> set[int]:
    """The numbers of the later lesions whose place no earlier scan covers."""
    unseen = set()
    for number in numbers:
        points = alignment.to_first_mm(study.voxels[number])
        covered = (scan.labels_at(other.from_first_mm(points))[1].mean() for scan, other in before)
        if max(covered, default=1.0) < MIN_COVERED:
            unseen.add(number)
    return unseen

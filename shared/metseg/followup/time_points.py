"""A study at its date, with what a follow-up needs of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise

import numpy as np

from metseg.contracts import Result
from metseg.errors import NotComparable
from metseg.imaging import FLAIR, POST, PRE, Affine, Array, Float64Array, LabelMap, Present, Spacing, map_points

__all__ = ["TimePoint", "check_comparable"]

MIN_SLICES = 8
BY_PREFERENCE = (POST, FLAIR, PRE)
"""Channels to register by: post-contrast T1 shows most, and is what RANO-BM measures."""


@dataclass(frozen=True, eq=False)
class TimePoint:
    """One study.

    Attributes:
        result: as the reader sees it: reviewed, if it has been.
        labels: (slice, row, column): the numbers of the lesions in `result`, 0 elsewhere.
        pixels: uint8, (slice, row, column, channel), as for a screen.
        present: which channels hold a separate sequence.
        affine: from (column, row, slice) to RAS+ millimetres.
        taken_on: None where unknown.
    """

    result: Result
    labels: LabelMap
    pixels: Array
    present: Present
    affine: Affine
    taken_on: date | None = None

    @property
    def spacing_mm(self) -> Spacing:
        """Between slices, rows and columns."""
        columns, rows, slices = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices, rows, columns

    @property
    def voxel_mm3(self) -> float:
        """The volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def voxels(self) -> dict[int, Float64Array]:
        """The voxels of each lesion as RAS+ millimetres, (voxel, 3), by its number."""
        indices = np.argwhere(self.labels)
        numbers = self.labels[tuple(indices.T)]
        points = map_points(self.affine, indices[:, ::-1])
        return {lesion.number: points[numbers == lesion.number] for lesion in self.result.lesions}

    def labels_at(self, points_mm: Float64Array) -> tuple[LabelMap, Array]:
        """The lesions at some points.

        Args:
            points_mm: RAS+ millimetres, (point, 3).

        Returns:
            The number of the lesion at each point, 0 where there is none, and whether the scan covers it.
        """
        inverse: Affine = np.linalg.inv(self.affine).astype(np.float64)
        indices: Array = np.rint(map_points(inverse, points_mm)).astype(int)[:, ::-1]
        covered: Array = np.all((indices >= 0) & (indices < self.labels.shape), axis=1)
        inside = np.where(covered[:, None], indices, 0)
        return np.where(covered, self.labels[tuple(inside.T)], 0), covered

    def common_channels(self, other: "TimePoint") -> tuple[int, int]:
        """The channels by which two studies are registered: a sequence that both have, else the best of each."""
        for channel in BY_PREFERENCE:
            if self.present[channel] and other.present[channel]:
                return channel, channel
        return _best(self.present), _best(other.present)


def _best(present: Present) -> int:
    return next((channel for channel in BY_PREFERENCE if present[channel]), FLAIR)


def check_comparable(results: Sequence[Result], dates: Sequence[date | None], patients: Sequence[str | None]) -> None:
    """Refuse studies that no follow-up can compare.

    Args:
        results: of the studies, oldest first.
        dates: when they were acquired, where that is known.
        patients: whose they are, where that is known.

    Raises:
        NotComparable: they are of two patients, in another order than their dates, without position or of too few
            slices, or a core is known of some of them only.
    """
    if len({one for one in patients if one is not None}) > 1:
        raise NotComparable("The jobs are of different patients: their `patient`, submitted or of DICOM, differs.")
    known = [one for one in dates if one is not None]
    if any(after < before for before, after in pairwise(known)):
        raise NotComparable("Name the jobs in the order of their dates, oldest first.")
    for place, result in enumerate(results, start=1):
        if result.spacing_mm is None or result.grid is None or result.grid.affine is None:
            raise NotComparable(
                f"Study {place} has no position in the patient, as volumes and DICOM have; nothing was compared."
            )
        if result.shape[0] < MIN_SLICES:
            raise NotComparable(f"Study {place} has {result.shape[0]} slices; a follow-up needs {MIN_SLICES}.")
    if len({result.structure for result in results}) > 1:
        without = ", ".join(str(place) for place, one in enumerate(results, start=1) if one.structure != "core")
        raise NotComparable(
            f"The tumour core is not known of study {without}: it has no post-contrast T1, or its model segments the "
            "whole alone. A core cannot be compared with a FLAIR abnormality."
        )

"""Lesions: the components of a mask, measured as radiologists do.

Their diameters are computed here, since no library gives them: scikit-image's `feret_diameter_max` is in pixels and
runs between pixel corners, and SimpleITK's Feret diameter is in three dimensions and runs between voxel centres.
RANO-BM asks for the longest diameter within one slice, in millimetres, and the longest perpendicular to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np

from metseg.contracts import BoundingBox, Diameters, Lesion, SliceMeasurements
from metseg.imaging.arrays import Affine, Float32Array, Float64Array, LabelMap, Mask, Spacing
from metseg.imaging.components import Component, Region, count_surrounding_voxels, find_components

__all__ = [
    "MAX_TARGETS",
    "ProbabilityMap",
    "measurable_numbers",
    "measure",
    "measure_components",
    "measure_slices",
    "measure_surroundings",
    "sum_target_diameters",
]

MAX_TARGETS = 5
"""How many target lesions RANO-BM follows."""
MIN_TARGET_LONG_MM, MIN_TARGET_PERPENDICULAR_MM, MIN_TARGET_SLICES = 10.0, 5.0, 2
"""The smallest target: its two diameters, and the number of slices that show it."""
TIE = 1 - 1e-9  # equal lengths may differ by rounding, as a mirrored lesion's do


class ProbabilityMap(Protocol):
    """float32 in [0, 1], (slice, row, column); an array, or an object that computes parts of one on request."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Slices, rows and columns."""

    def __iter__(self) -> Iterator[Float32Array]:
        """Its slices."""

    def __getitem__(self, region: Region, /) -> Float32Array:
        """The part in a box."""


def measure(
    mask: Mask,
    spacing_mm: Spacing | None,
    probability: ProbabilityMap,
    affine: Affine | None = None,
    *,
    choose_targets: bool = True,
) -> list[Lesion]:
    """Measure every lesion of a volume.

    A lesion is a 26-connected component of the mask. Its long diameter is the largest in-plane Feret
    diameter over its slices, and its perpendicular diameter the longest across that one in the same slice,
    as RANO-BM measures them (Lin et al., Lancet Oncol 2015;16:e270-8). A diameter runs between the middles
    of pixel edges, so that one pixel is 1 px across and a row of ten is 10 px. Diameters in millimetres are
    measured in millimetres, so that they are right where rows and columns differ in spacing.

    Target lesions are chosen as RANO-BM defines them for a first scan: up to five measurable lesions, the longest
    first. A measurable lesion appears in two or more slices, is at least 10 mm long and 5 mm across in one of them,
    and is at least twice as long as the distance between slices, which matters where that is more than 5 mm. For a
    single slice the number of slices does not matter. Without spacing the longest lesions are used, whatever
    their size. The paper also requires that a lesion can be measured reproducibly and was not irradiated; a mask does
    not show this, so a reader may choose otherwise.

    Args:
        mask: bool, (slice, row, column).
        spacing_mm: between slices, rows and columns; None gives sizes in pixels only.
        probability: float32 in [0, 1], the shape of `mask`.
        affine: from (column, row, slice) to patient millimetres (RAS+), (4, 4); None leaves centroids in voxels.
        choose_targets: whether to propose target lesions; RANO-BM measures the core, so none are of other structures.

    Returns:
        Lesions, largest volume first and in the order of their first voxels where equal; empty where the
        mask is.

    Raises:
        ValueError: `probability` is not shaped as `mask` (a bug in the caller).
    """
    _check_shapes(mask, probability)
    return measure_components(
        find_components(mask), len(mask), spacing_mm, probability, affine, choose_targets=choose_targets
    )


def measure_components(
    components: Sequence[Component],
    slice_count: int,
    spacing_mm: Spacing | None,
    probability: ProbabilityMap,
    affine: Affine | None = None,
    *,
    choose_targets: bool = True,
) -> list[Lesion]:
    """Measure lesions whose components are known, such as several that count as one; see `measure`.

    Args:
        components: of the lesions, numbered in this order.
        slice_count: of the volume.
        spacing_mm: as in `measure`.
        probability: as in `measure`, of the volume.
        affine: as in `measure`.
        choose_targets: as in `measure`.

    Returns:
        Lesions in the order of the components.
    """
    lesions = [
        _lesion(number, region, component, spacing_mm, probability[region])
        for number, (region, component) in enumerate(components, start=1)
    ]
    measurable = measurable_numbers(lesions, slice_count, spacing_mm)
    targets = set(measurable[:MAX_TARGETS]) if choose_targets else set()
    return [
        lesion.model_copy(
            update={"target": lesion.number in targets, "centroid_mm": _to_patient(lesion.centroid, affine)}
        )
        for lesion in lesions
    ]


def sum_target_diameters(lesions: Sequence[Lesion]) -> tuple[float | None, float | None]:
    """The sum of the target lesions' long diameters in pixels and in millimetres.

    Returns:
        None for both where there is no target, and for millimetres where the spacing is unknown.
    """
    targets = [lesion for lesion in lesions if lesion.target]
    in_mm = [lesion.long_diameter_mm for lesion in targets if lesion.long_diameter_mm is not None]
    return sum(lesion.long_diameter_px for lesion in targets) if targets else None, sum(in_mm) if in_mm else None


def measure_surroundings(
    lesions: Sequence[Lesion], labels: LabelMap, whole: Mask, spacing_mm: Spacing | None
) -> list[Lesion]:
    """Add to lesions of the core the size of the abnormality around them; see `count_surrounding_voxels`.

    Args:
        lesions: of the core.
        labels: their numbers, (slice, row, column).
        whole: bool, the same shape; contains the core.
        spacing_mm: between slices, rows and columns; None leaves volumes unknown.

    Returns:
        The lesions with `surrounding_voxels` and `surrounding_volume_mm3`.
    """
    voxel_mm3 = None if spacing_mm is None else float(np.prod(spacing_mm))
    return [
        lesion.model_copy(
            update={
                "surrounding_voxels": voxels,
                "surrounding_volume_mm3": None if voxel_mm3 is None else voxels * voxel_mm3,
            }
        )
        for lesion, voxels in zip(lesions, count_surrounding_voxels(labels, whole, spacing_mm), strict=True)
    ]


def measure_slices(
    mask: Mask,
    lesions: Sequence[Lesion],
    names: Sequence[str],
    spacing_mm: Spacing | None,
    probability: ProbabilityMap,
) -> list[SliceMeasurements]:
    """Measure every slice, including those without a lesion.

    Args:
        mask: bool, (slice, row, column).
        lesions: what `measure` found in `mask`.
        names: of the slices.
        spacing_mm: between slices, rows and columns, or None.
        probability: float32 in [0, 1], the shape of `mask`.

    Returns:
        One entry per slice, in order.

    Raises:
        ValueError: `probability` or `names` do not fit `mask` (a bug in the caller).
    """
    _check_shapes(mask, probability)
    return [
        SliceMeasurements(
            index=index,
            name=name,
            lesions=[lesion.number for lesion in lesions if lesion.box.first[0] <= index < lesion.box.stop[0]],
            area_px=int(area := np.count_nonzero(in_slice)),
            area_mm2=None if spacing_mm is None else float(area * spacing_mm[1] * spacing_mm[2]),
            highest_probability=float(of_slice.max()),
        )
        for index, (name, in_slice, of_slice) in enumerate(zip(names, mask, probability, strict=True))
    ]


def _check_shapes(mask: Mask, probability: ProbabilityMap) -> None:
    if mask.ndim != 3 or mask.dtype != np.bool_ or probability.shape != mask.shape:
        raise ValueError(
            f"a bool mask and its probability must share one (slice, row, column) shape, "
            f"not {mask.dtype} {mask.shape} and {probability.shape}"
        )


def measurable_numbers(lesions: Sequence[Lesion], slice_count: int, spacing_mm: Spacing | None) -> list[int]:
    """The numbers of the lesions that are measurable as defined by RANO-BM, longest first; see `measure`.

    Args:
        lesions: of one volume.
        slice_count: of the volume.
        spacing_mm: between slices, rows and columns, or None.

    Returns:
        Their numbers.
    """
    longest_first = sorted(lesions, key=lambda lesion: -(lesion.long_diameter_mm or lesion.long_diameter_px))
    return [lesion.number for lesion in longest_first if _measurable(lesion, slice_count, spacing_mm)]


def _measurable(lesion: Lesion, slice_count: int, spacing_mm: Spacing | None) -> bool:
    if slice_count > 1 and lesion.box.stop[0] - lesion.box.first[0] < MIN_TARGET_SLICES:
        return False
    if spacing_mm is None or lesion.long_diameter_mm is None or lesion.perpendicular_diameter_mm is None:
        return True
    min_long_mm = max(MIN_TARGET_LONG_MM, 2 * spacing_mm[0])
    return bool(
        lesion.long_diameter_mm >= min_long_mm * TIE
        and lesion.perpendicular_diameter_mm >= MIN_TARGET_PERPENDICULAR_MM * TIE
    )


def _to_patient(centroid: tuple[float, float, float], affine: Affine | None) -> tuple[float, float, float] | None:
    """A (slice, row, column) in patient millimetres."""
    if affine is None:
        return None
    right, front, top = (affine[:3, :3] @ centroid[::-1] + affine[:3, 3]).tolist()
    return right, front, top


def _lesion(
    number: int, region: Region, component: Mask, spacing_mm: Spacing | None, probability: Float32Array
) -> Lesion:
    """The lesion that is `component` of `region`, with the probability there."""
    areas = component.sum(axis=(1, 2))
    largest, voxels, area = int(areas.argmax()), int(areas.sum()), int(areas.max())
    inside = probability[component].astype(np.float64)
    voxels_inside = np.argwhere(component) + [side.start for side in region]
    hulls = {index: _hull(in_slice) for index, in_slice in enumerate(component) if in_slice.any()}
    first = tuple(side.start for side in region)
    long_px, perpendicular_px, diameters = _diameters(hulls, (1.0, 1.0), first)
    long_mm, perpendicular_mm = None, None
    if spacing_mm is not None:
        long_mm, perpendicular_mm, diameters = _diameters(hulls, spacing_mm[1:], first)
    return Lesion(
        number=number,
        voxels=voxels,
        volume_mm3=None if spacing_mm is None else float(voxels * np.prod(spacing_mm)),
        largest_slice=region[0].start + largest,
        largest_area_px=area,
        largest_area_mm2=None if spacing_mm is None else float(area * spacing_mm[1] * spacing_mm[2]),
        long_diameter_px=long_px,
        long_diameter_mm=long_mm,
        perpendicular_diameter_px=perpendicular_px,
        perpendicular_diameter_mm=perpendicular_mm,
        diameters=diameters,
        box=BoundingBox(first=first, stop=tuple(side.stop for side in region)),
        centroid=tuple(voxels_inside.mean(axis=0).tolist()),
        peak=tuple(voxels_inside[inside.argmax()].tolist()),
        mean_probability=float(inside.mean()),
        lowest_probability=float(inside.min()),
    )


def _hull(in_slice: Mask) -> Float64Array:
    """The convex hull, (point, row and column), of the edge midpoints of all pixels in a slice."""
    rows = np.flatnonzero(in_slice.any(axis=1))
    left = in_slice[rows].argmax(axis=1)
    right = in_slice.shape[1] - 1 - in_slice[rows, ::-1].argmax(axis=1)
    half_pixels = [
        (2 * rows + row, 2 * ends + column)
        for ends, outward in ((left, -1), (right, 1))
        for row, column in ((0, outward), (-1, 0), (1, 0))
    ]
    points = np.hstack(half_pixels).T.astype(np.int32)
    return cv2.convexHull(points)[:, 0].astype(np.float64) / 2


def _diameters(
    hulls: Mapping[int, Float64Array], spacing: tuple[float, ...], first: tuple[int, ...]
) -> tuple[float, float, Diameters]:
    """The long diameter over all slices, the longest perpendicular to it in its slice, and where both run."""
    longest, perpendicular = 0.0, 0.0
    found = 0, np.zeros((2, 2)), np.zeros((2, 2))
    for index, hull in hulls.items():
        points = hull * spacing
        between = points[:, None] - points
        lengths = np.hypot(between[..., 0], between[..., 1])
        length = float(lengths.max())
        if length < longest * TIE:
            continue
        if length * TIE > longest:
            perpendicular = 0.0
        longest = max(longest, length)
        for ends in np.argwhere(np.triu(lengths >= length * TIE)):
            across, chord = _chord(points, *points[ends])
            if across > perpendicular:
                perpendicular, found = across, (index, hull[ends], chord / spacing)
    index, long, chord = found
    ends_of = [tuple(map(tuple, (line + first[1:]).tolist())) for line in (long, chord)]
    return longest, perpendicular, Diameters(longest_slice=first[0] + index, long=ends_of[0], perpendicular=ends_of[1])


def _chord(hull: Float64Array, one: Float64Array, other: Float64Array) -> tuple[float, Float64Array]:
    """The longest chord of a convex hull perpendicular to its diameter from `one` to `other`, and its ends.

    The length of a chord is concave along the diameter and changes its slope only at corners, so the longest one passes
    through a corner.
    """
    axis = (other - one) / np.hypot(*(other - one))
    normal = np.array([-axis[1], axis[0]])
    along, across = (hull - one) @ axis, (hull - one) @ normal
    along, across = along[order := np.argsort(along)], across[order]
    end = along[-1]
    above, below = (
        np.interp(along, np.r_[0, along[side], end], np.r_[0, across[side], 0]) for side in (across > 0, across < 0)
    )
    widest = int((above - below).argmax())
    ends = one + along[widest] * axis + np.outer([above[widest], below[widest]], normal)
    return float(above[widest] - below[widest]), ends

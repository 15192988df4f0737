"""Connected components of a mask, and the rule by which some of them become a structure.

SciPy labels the components, as scikit-image and SimpleITK would.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.imaging.arrays import Float32Array, LabelMap, Mask, Shape, Spacing, UInt8Array
from metseg.imaging.foreground import bounding_box

__all__ = [
    "CONNECTIVITY_26",
    "Component",
    "Region",
    "count_surrounding_voxels",
    "find_components",
    "join_components",
    "label_components",
    "label_lesions",
    "label_slices",
    "select_components",
    "threshold_levels",
]

Region = tuple[slice, slice, slice]
Component = tuple[Region, Mask]
"""A box of a volume, and the mask of the component in it."""

CONNECTIVITY_26 = np.ones((3, 3, 3), bool)
"""Voxels that share a face, an edge or a corner belong to one component."""


def find_components(mask: Mask) -> list[Component]:
    """The 26-connected components of a mask, largest first and in the order of their first voxels where equal.

    Args:
        mask: bool, (slice, row, column).
    """
    return _largest_first(_components(mask))


def join_components(components: Sequence[Component], groups: Iterable[Sequence[int]]) -> list[Component]:
    """Unite groups of components, each of which then counts as one.

    Args:
        components: of one volume.
        groups: indices of the components of each group; a component is in one group at most.

    Returns:
        Components, largest first.
    """
    groups = [list(group) for group in groups]
    joined = {index for group in groups for index in group}
    single = [component for index, component in enumerate(components) if index not in joined]
    return _largest_first([*single, *(_unite([components[index] for index in group]) for group in groups)])


def _unite(components: Sequence[Component]) -> Component:
    """The union of components in the box that holds all of them."""
    sides = list(zip(*(region for region, _ in components), strict=True))
    first = [min(side.start for side in along) for along in sides]
    stop = [max(side.stop for side in along) for along in sides]
    united = np.zeros([end - begin for begin, end in zip(first, stop, strict=True)], bool)
    for region, component in components:
        inside = tuple(slice(side.start - begin, side.stop - begin) for side, begin in zip(region, first, strict=True))
        united[inside] |= component
    in_slices, in_rows, in_columns = (slice(begin, end) for begin, end in zip(first, stop, strict=True))
    return (in_slices, in_rows, in_columns), united


def label_components(
    components: Iterable[Component], shape: Shape | tuple[int, ...], dtype: npt.DTypeLike = np.int32
) -> LabelMap:
    """The label map of components: the first is 1, and 0 is none of them.

    Args:
        components: of one volume.
        shape: slices, rows and columns of the volume.
        dtype: of the labels; has to hold their number.

    Returns:
        (slice, row, column).
    """
    labels: LabelMap = np.zeros(shape, dtype)
    for number, (region, component) in enumerate(components, start=1):
        labels[region][component] = number
    return labels


def label_lesions(mask: Mask) -> LabelMap:
    """The label map of the lesions: each one's number as `measure` gives it, 0 elsewhere.

    Args:
        mask: bool, (slice, row, column).
    """
    return label_components(find_components(mask), mask.shape)


def label_slices(components: Sequence[Component], shape: Shape) -> Iterator[LabelMap]:
    """The slices of `label_components`, (row, column), one of them in memory at a time.

    Args:
        components: of one volume.
        shape: slices, rows and columns of the volume.

    Yields:
        int32, (row, column).
    """
    for index in range(shape[0]):
        labels = np.zeros(shape[1:], np.int32)
        for number, ((slices, rows, columns), component) in enumerate(components, start=1):
            if slices.start <= index < slices.stop:
                labels[rows, columns][component[index - slices.start]] = number
        yield labels


def threshold_levels(probability: Float32Array, threshold: float, seed_threshold: float) -> UInt8Array:
    """Compare a map with both thresholds.

    Args:
        probability: float32 in [0, 1], of any shape.
        threshold: from which a voxel may belong to the mask.
        seed_threshold: from which it is a seed; if lower than `threshold`, all of them are.

    Returns:
        Levels for `select_components`, of the same shape.
    """
    levels: UInt8Array = (probability >= threshold).view(np.uint8)
    levels += levels * (probability >= seed_threshold)
    return levels


def select_components(levels: UInt8Array, min_voxels: float = 0) -> Mask:
    """Apply hysteresis thresholds: keep the 26-connected components that hold a seed and are large enough.

    Args:
        levels: uint8, (slice, row, column): 0 below the threshold, 1 from it on, 2 for seeds.
        min_voxels: the size from which a component stays.

    Returns:
        bool, (slice, row, column).
    """
    if min_voxels <= 1 and not (levels == 1).any():
        return levels > 0
    kept = np.zeros(levels.shape, np.bool_)
    for region, component in _components(levels > 0):
        if np.count_nonzero(component) >= min_voxels and (levels[region][component] == 2).any():
            kept[region] |= component
    return kept


def count_surrounding_voxels(labels: LabelMap, whole: Mask, spacing_mm: Spacing | None) -> list[int]:
    """Count the voxels of the whole around each lesion of the core.

    A voxel outside of the core counts for the lesion that is nearest to it among those of its component of the whole.

    Args:
        labels: of the lesions of the core, as from `label_lesions`.
        whole: bool, the same shape; contains the core.
        spacing_mm: between slices, rows and columns; None takes voxels for cubes.

    Returns:
        The voxels around each lesion, in the order of their numbers.
    """
    counts = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for region, component in _components(whole):
        own = labels[region] * component
        numbers = np.unique(own[own > 0])
        around = component & (own == 0)
        if len(numbers) == 1:
            counts[numbers[0]] += np.count_nonzero(around)
        elif len(numbers):
            nearest = ndimage.distance_transform_edt(
                own == 0, spacing_mm or (1.0, 1.0, 1.0), return_distances=False, return_indices=True
            )
            counts += np.bincount(own[tuple(nearest)][around], minlength=len(counts))
    return [int(count) for count in counts[1:]]


def _largest_first(components: Iterable[Component]) -> list[Component]:
    return sorted(components, key=lambda component: -int(component[1].sum()))


def _components(mask: Mask) -> Iterator[Component]:
    """Every 26-connected component as its box and its mask there, in the order of first voxels.

    No component crosses an empty slice, so each run of occupied slices is labelled separately, cropped to what they
    hold: a long series with few lesions costs little.
    """
    runs = np.flatnonzero(np.diff(mask.any(axis=(1, 2)), prepend=False, append=False)).reshape(-1, 2)
    for first, stop in runs.tolist():
        rows, columns = bounding_box(np.asarray(mask[first:stop].any(axis=0)))
        begin = (first, rows.start, columns.start)
        labels, _ = ndimage.label(mask[first:stop, rows, columns], CONNECTIVITY_26)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            in_slices, in_rows, in_columns = (
                slice(side.start + start, side.stop + start) for side, start in zip(box, begin, strict=True)
            )
            yield (in_slices, in_rows, in_columns), labels[box] == number

"""Lesion-wise metrics: found and missed lesions, since one overlap says little about many small lesions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.imaging import CONNECTIVITY_26, LabelMap, Mask, Spacing, measure

__all__ = [
    "STRATA_MM",
    "LesionwiseMetrics",
    "TrueLesion",
    "count_shared_voxels",
    "diameter_stratum",
    "label_components",
    "match_lesions",
    "volume_class",
]

STRATA_MM = (6.0, 10.0, 20.0)
"""Bounds between strata of lesion diameter."""
CLASSES_MM3 = (27.0, 275.0)
"""Bounds between classes of lesion volume: below, 41% of the lesions of BraTS-METS; between, 40%; above, 19%."""


@dataclass(frozen=True)
class TrueLesion:
    """A lesion of the truth.

    Attributes:
        diameter_mm: its long diameter; of a drawn one, without its oedema.
        detected: whether any predicted voxel is in it.
        dice: with all predicted components that touch it; 0 if it was missed.
        volume_mm3: of its voxels.
    """

    diameter_mm: float
    detected: bool
    dice: float
    volume_mm3: float


@dataclass(frozen=True)
class LesionwiseMetrics:
    """One patient, lesion by lesion.

    Attributes:
        lesions: of the truth.
        false_positives_mm: long diameters of the predicted components that touch no true lesion.
        false_on_vessels: how many of those are half or more on vessels and other enhancing structures; None where these
            are not known.
    """

    lesions: tuple[TrueLesion, ...]
    false_positives_mm: tuple[float, ...]
    false_on_vessels: int | None = None

    @property
    def dice(self) -> float:
        """Lesion-wise Dice: missed and false lesions count 0; without lesions, 1."""
        count = len(self.lesions) + len(self.false_positives_mm)
        return sum(lesion.dice for lesion in self.lesions) / count if count else 1.0


def label_components(mask: Mask) -> LabelMap:
    """The 26-connected components of a mask, numbered from 1; 8-connected in a single slice."""
    labels, _ = ndimage.label(mask, CONNECTIVITY_26)
    return np.asarray(labels, np.int32)


def count_shared_voxels(lesions: LabelMap, components: LabelMap) -> npt.NDArray[np.int64]:
    """How many voxels each lesion shares with each component.

    Args:
        lesions: int32, (slice, row, column), numbered from 1; 0 is the background.
        components: the same, of a prediction.

    Returns:
        (lesion, component), both with the background as number 0.
    """
    shape = int(lesions.max(initial=0)) + 1, int(components.max(initial=0)) + 1
    pairs = lesions.astype(np.int64) * shape[1] + components
    return np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]).reshape(shape)


def match_lesions(
    predicted: Mask,
    truth: LabelMap,
    spacing_mm: Spacing,
    *,
    diameters_mm: Sequence[float] | None = None,
    vessels: Mask | None = None,
    unknown: Mask | None = None,
) -> LesionwiseMetrics:
    """Match predicted components with true lesions.

    A predicted component may touch several true lesions and counts for each of them, and several may touch one:
    BraTS-METS matched in the same way until 2025 (Moawad et al., 2023), after a dilation by one voxel that is omitted
    here; `brats_mets` matches as it does since.

    Args:
        predicted: bool, (slice, row, column).
        truth: int32, the same shape: n where the n-th lesion is; see `label_components`.
        spacing_mm: between slices, rows and columns.
        diameters_mm: of the true lesions, if known; None measures them.
        vessels: enhancing structures other than lesions, if known; the same shape.
        unknown: where the truth is unknown; a component that touches it is not false; the same shape.

    Returns:
        Found, missed and false lesions.

    Raises:
        ValueError: the shapes differ, or the numbers of diameters and lesions differ (bugs of the caller).
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"a prediction of {predicted.shape} for a truth of {truth.shape}")
    components = label_components(predicted)
    sizes, numbers = np.bincount(components.ravel()), range(1, int(truth.max()) + 1)
    known = _diameters(truth, spacing_mm, numbers) if diameters_mm is None else list(diameters_mm)
    if len(known) != len(numbers):
        raise ValueError(f"{len(known)} diameters for {len(numbers)} lesions")
    lesions = tuple(
        _lesion(components[truth == number], sizes, diameter, math.prod(spacing_mm))
        for number, diameter in zip(numbers, known, strict=True)
    )
    excused = truth > 0 if unknown is None else (truth > 0) | unknown
    touching = set(np.unique(components[excused]).tolist())
    false_ones = [number for number in range(1, len(sizes)) if number not in touching]
    on_vessels = None
    if vessels is not None:
        voxels = np.bincount(components[vessels], minlength=len(sizes))
        on_vessels = sum(2 * int(voxels[number]) >= int(sizes[number]) for number in false_ones)
    return LesionwiseMetrics(lesions, tuple(_diameters(components, spacing_mm, false_ones)), on_vessels)


def diameter_stratum(diameter_mm: float) -> str:
    """The name of a diameter's stratum."""
    return _range_name(diameter_mm, STRATA_MM, "mm")


def volume_class(volume_mm3: float) -> str:
    """The name of a volume's class."""
    return _range_name(volume_mm3, CLASSES_MM3, "mm3")


def _range_name(value: float, bounds: Sequence[float], unit: str) -> str:
    for low, high in zip((0.0, *bounds), bounds, strict=False):
        if value < high:
            return f"below {high:g} {unit}" if low == 0 else f"{low:g} to {high:g} {unit}"
    return f"{bounds[-1]:g} {unit} and more"


def _lesion(
    inside: npt.NDArray[np.int32], sizes: npt.NDArray[np.int64], diameter_mm: float, voxel_mm3: float
) -> TrueLesion:
    """A lesion of the truth, from the numbers of the components in its voxels and the sizes of all components."""
    touching = [one for one in np.unique(inside).tolist() if one]
    both, found = int((inside > 0).sum()), int(sizes[touching].sum())
    dice = 2 * both / (found + len(inside)) if touching else 0.0
    return TrueLesion(diameter_mm, bool(touching), dice, voxel_mm3 * len(inside))


def _diameters(labels: LabelMap, spacing_mm: Spacing, numbers: Iterable[int]) -> list[float]:
    """The long diameters of some components."""
    boxes = ndimage.find_objects(labels)
    return [_diameter(labels[boxes[number - 1]] == number, spacing_mm) for number in numbers]


def _diameter(component: Mask, spacing_mm: Spacing) -> float:
    parts = measure(component, spacing_mm, component.astype(np.float32))
    return max(float(part.long_diameter_mm or 0) for part in parts)

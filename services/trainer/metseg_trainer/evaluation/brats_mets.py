"""The figures of the BraTS-METS challenge of 2026: lesions are matched one to one, missed and false ones count 0.

The challenge's own tools, `BraTS_evaluation` 0.0.10 and `panoptica` 2.1.7, need older releases of NumPy and pandas than
this project, so the rules are repeated here; a test compares both on the same cases.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from metseg.imaging import Float64Array, LabelMap, Mask, Spacing
from metseg_trainer.evaluation.lesionwise import count_shared_voxels, label_components
from metseg_trainer.evaluation.masks import bounding_box

__all__ = ["BratsMets", "brats_mets"]

MIN_VOLUME_MM3 = 20.0
"""Smaller lesions count as found or missed, but have no Dice."""


@dataclass(frozen=True)
class BratsMets:
    """One patient.

    Attributes:
        found: lesions matched with a component.
        missed: the other lesions.
        false: components matched with no lesion.
        dice: mean over lesions of 20 mm3 and more and false components; None without such a lesion.
        surface_dice: the same for normalised surface Dice at a tolerance of the smallest side of a voxel.
    """

    found: int
    missed: int
    false: int
    dice: float | None
    surface_dice: float | None


def brats_mets(predicted: Mask, truth: LabelMap, spacing_mm: Spacing, unknown: Mask | None = None) -> BratsMets:
    """Match predicted components with true lesions, one to one, so that the sum of their Dice is highest.

    Args:
        predicted: bool, (slice, row, column).
        truth: int32, the same shape: n where the n-th lesion is.
        spacing_mm: between slices, rows and columns.
        unknown: where the truth is unknown; a component that touches it and no lesion is left out.

    Returns:
        The figures.
    """
    components = label_components(predicted)
    if unknown is not None:
        excused = np.setdiff1d(np.unique(components[unknown]), np.unique(components[truth > 0]))
        components = label_components(predicted & ~np.isin(components, excused[excused > 0]))
    dice = _pairwise_dice(truth, components)
    lesions, found = (matched.tolist() for matched in linear_sum_assignment(-dice))
    pairs = {lesion: component for lesion, component in zip(lesions, found, strict=True) if dice[lesion, component] > 0}
    false = dice.shape[1] - len(pairs)
    voxels = np.bincount(truth.ravel(), minlength=dice.shape[0] + 1)[1:]
    large = np.flatnonzero(voxels * np.prod(spacing_mm) >= MIN_VOLUME_MM3).tolist()
    scores = [(0.0, 0.0)] * (false + sum(lesion not in pairs for lesion in large))
    for lesion in (one for one in large if one in pairs):
        one, other = truth == lesion + 1, components == pairs[lesion] + 1
        scores.append((float(dice[lesion, pairs[lesion]]), _surface_dice(one, other, spacing_mm)))
    means = np.mean(scores, axis=0).tolist() if large else [None, None]
    return BratsMets(len(pairs), dice.shape[0] - len(pairs), false, *means)


def _pairwise_dice(truth: LabelMap, components: LabelMap) -> Float64Array:
    """Dice of each lesion with each component, (lesion, component)."""
    shared = count_shared_voxels(truth, components)
    sizes = shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[None, 1:]
    return np.asarray(2 * shared[1:, 1:] / np.maximum(sizes, 1), np.float64)


def _surface_dice(one: Mask, other: Mask, spacing_mm: Spacing) -> float:
    """Normalised surface Dice as panoptica computes it: the mean of both surfaces' shares near the other surface."""
    box = bounding_box(one | other)
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (one, other)]
    shares = [_share_near(surfaces[first], surfaces[1 - first], spacing_mm) for first in (0, 1)]
    return float(np.mean(shares))


def _share_near(surface: Mask, other: Mask, spacing_mm: Spacing) -> float:
    distance_mm: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~other, sampling=spacing_mm)
    return float((distance_mm[surface] <= min(spacing_mm)).mean())

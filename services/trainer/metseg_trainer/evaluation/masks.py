"""Metrics of a mask against the truth, by patient: overlap, surface distance and volume."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from metseg.imaging import Mask, Spacing

__all__ = ["EMPTY_CONVENTION", "MaskMetrics", "bounding_box", "compare_masks", "dice"]

TOLERANCE_MM = 1.0
EMPTY_CONVENTION = (
    "Where truth and prediction are both empty they agree: Dice, sensitivity, precision and surface Dice are 1, HD95 "
    "and volume error 0. Where only one of them is empty, Dice and surface Dice are 0 and HD95 has no value; "
    "sensitivity has none without truth, precision none without prediction, volume error none without truth. What has "
    "no value is left out of the mean of its column, and only there. A slice is never averaged by itself: all slices "
    "of a patient are one volume, so a slice without a lesion counts by what was wrongly marked in it."
)


@dataclass(frozen=True)
class MaskMetrics:
    """Metrics of one patient; None where undefined (see `EMPTY_CONVENTION`).

    Attributes:
        dice: 2|A and B| / (|A| + |B|).
        sensitivity: the share of the truth that was found.
        precision: the share of the prediction that is true.
        hd95_mm: the 95th percentile of distances between the two surfaces, the larger of both directions.
        surface_dice: the share of both surfaces within 1 mm of the other (Nikolov et al., JMIR 2021).
        volume_error: predicted volume over true volume, minus 1.
    """

    dice: float
    sensitivity: float | None
    precision: float | None
    hd95_mm: float | None
    surface_dice: float
    volume_error: float | None


def dice(predicted: Mask, truth: Mask) -> float:
    """Dice's coefficient of two masks, 2|A and B| / (|A| + |B|).

    Args:
        predicted: bool.
        truth: bool, the same shape.

    Returns:
        0 to 1; 1 if both are empty.
    """
    total = int(predicted.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * int((predicted & truth).sum()) / total


def compare_masks(predicted: Mask, truth: Mask, spacing_mm: Spacing) -> MaskMetrics:
    """All metrics of one patient.

    Args:
        predicted: bool, (slice, row, column).
        truth: the same shape.
        spacing_mm: between slices, rows and columns.

    Returns:
        The metrics.

    Raises:
        ValueError: the shapes differ (a bug of the caller).
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"a prediction of {predicted.shape} for a truth of {truth.shape}")
    found, true, both = (int(mask.sum()) for mask in (predicted, truth, predicted & truth))
    if not found and not true:
        return MaskMetrics(1.0, 1.0, 1.0, 0.0, 1.0, 0.0)
    if not found or not true:
        return MaskMetrics(0.0, 0.0 if true else None, 0.0 if found else None, None, 0.0, -1.0 if true else None)
    hd95, surface = _surfaces(predicted, truth, spacing_mm)
    return MaskMetrics(2 * both / (found + true), both / true, both / found, hd95, surface, found / true - 1)


def _surfaces(predicted: Mask, truth: Mask, spacing_mm: Spacing) -> tuple[float, float]:
    """HD95 and surface Dice of two masks that are not empty, from MONAI, whose import takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns about optional packages that are not needed here
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance
        from monai.metrics.surface_dice import compute_surface_dice
    box = bounding_box(predicted | truth)
    found, true = (torch.from_numpy(mask[box][None, None].astype(np.float32)) for mask in (predicted, truth))
    spacing = list(spacing_mm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns about arguments that it passes itself
        distance = compute_hausdorff_distance(found, true, include_background=True, percentile=95, spacing=spacing)
        surface = compute_surface_dice(found, true, [TOLERANCE_MM], include_background=True, spacing=spacing)
    return float(distance[0, 0]), float(surface[0, 0])


def bounding_box(mask: Mask) -> tuple[slice, ...]:
    """The box of a mask with a margin of one voxel within the volume."""
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(max(0, int(at[0]) - 1), int(at[-1]) + 2) for at in ends)

"""The masks of the structures that follow from thresholds and corrected voxels."""

import math
from collections.abc import Mapping

import numpy as np

from metseg.contracts import Review, Runs, Structure, StructureMeasurements, VoxelCorrection, run_spans
from metseg.errors import InvalidParameter
from metseg.imaging import Mask, select_components
from metseg.results.review.probability import StoredProbability

__all__ = ["mark_runs", "reviewed_masks"]


def reviewed_masks(
    review: Review,
    masks: Mapping[Structure, Mask],
    probabilities: Mapping[Structure, StoredProbability],
    measured: Mapping[Structure, StructureMeasurements],
) -> dict[Structure, Mask]:
    """Apply the thresholds and corrections of a review.

    Args:
        review: the reader's changes.
        masks: the model's, bool, (slice, row, column).
        probabilities: of the structures, in the same shape; those with a threshold are needed.
        measured: how the model's masks were made.

    Returns:
        New masks of the same structures; the core lies within the whole.

    Raises:
        InvalidParameter: a run ends outside of the volume.
    """
    made = {
        structure: mask.copy()
        if (threshold := review.thresholds.get(structure)) is None
        else select_components(probabilities[structure].reaches(threshold), measured[structure].min_voxels)
        for structure, mask in masks.items()
    }
    of_whole = review.corrections.get("whole", VoxelCorrection())
    if "core" in made:
        _correct(made["core"], review.corrections.get("core", VoxelCorrection()))
        mark_runs(made["core"], of_whole.erased, value=False)
        np.logical_or(made["whole"], made["core"], out=made["whole"])
    _correct(made["whole"], of_whole)
    return made


def _correct(mask: Mask, correction: VoxelCorrection) -> None:
    mark_runs(mask, correction.added, value=True)
    mark_runs(mask, correction.erased, value=False)


def mark_runs(mask: Mask, runs: Runs, *, value: bool) -> None:
    """Set the voxels of runs.

    Args:
        mask: bool, (slice, row, column), contiguous; changed.
        runs: as in `metseg.contracts.review`.
        value: that the voxels get.

    Raises:
        InvalidParameter: a run ends outside of the mask.
    """
    flat, voxels = mask.reshape(-1), math.prod(mask.shape)
    if runs and runs[-2] + runs[-1] > voxels:
        raise InvalidParameter(
            f"A corrected voxel lies outside of the volume of {' x '.join(map(str, mask.shape))} voxels (slices, rows, "
            "columns)."
        )
    for first, stop in run_spans(runs):
        flat[first:stop] = value

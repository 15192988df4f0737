"""Segmentations and results made by hand, for tests that need no model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from metseg.contracts import STRUCTURES, Lesion, OperatingPoint, Structure, StructureMeasurements
from metseg.imaging import Float32Array, Mask
from metseg.inference import Segmentation, StructureMap


def segmentation_of(
    probability: Float32Array,
    mask: Mask,
    lesions: list[Lesion],
    warnings: Sequence[str] = (),
    *,
    threshold: float = 0.5,
    structure: Structure = "core",
    whole: Mask | None = None,
) -> Segmentation:
    """A segmentation whose core, if it has one, has the same mask as the whole unless that is given."""
    found = StructureMap(probability, mask, OperatingPoint(threshold=threshold), 0)
    names: tuple[Structure, ...] = STRUCTURES if structure == "core" else ("whole",)
    structures = dict.fromkeys(names, found)
    if whole is not None:
        structures["whole"] = replace(found, mask=whole)
    return Segmentation(structures, structure, lesions, tuple(warnings))


def measured_structures(
    mask: Mask, threshold: float = 0.5, min_voxels: float = 0, whole: Mask | None = None
) -> dict[Structure, StructureMeasurements]:
    """The measurements of a core and a whole, which have the same mask unless `whole` is given; without spacing."""
    voxels = int(np.count_nonzero(mask))
    measured = StructureMeasurements(
        threshold=threshold, seed_threshold=0, min_voxels=min_voxels, voxels=voxels, volume_mm3=None
    )
    of_whole = measured if whole is None else measured.model_copy(update={"voxels": int(np.count_nonzero(whole))})
    return {"core": measured, "whole": of_whole}

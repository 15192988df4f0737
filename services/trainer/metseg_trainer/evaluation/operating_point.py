"""The operating point of a model for one structure, chosen on validation patients."""

from collections.abc import Iterable

import numpy as np

from metseg.contracts import OperatingPoint
from metseg.imaging import Float32Array, Mask
from metseg_trainer.evaluation.lesionwise import label_components

__all__ = ["choose_operating_point"]


THRESHOLDS = tuple(round(float(value), 2) for value in np.arange(0.2, 0.81, 0.05))
MIN_VOLUMES_MM3 = (0.0, 5.0, 15.0, 50.0, 150.0, 400.0)
TIE_DICE = 0.001


def choose_operating_point(studies: Iterable[tuple[Float32Array, Mask, float]]) -> OperatingPoint:
    """The operating point with the highest mean patient Dice.

    Points within 0.001 of the best tie, since a few validation patients cannot separate them; of these the one
    closest to a threshold of 0.5 is used, then the one that keeps the smallest lesions.

    Args:
        studies: of each validation patient its probability map, its true mask, and the volume of a voxel in mm3.
    """
    scores: dict[tuple[float, float], list[float]] = {}
    for probability, truth, voxel_mm3 in studies:
        total = int(truth.sum())
        for threshold in THRESHOLDS:
            components = label_components(probability >= threshold)
            sizes = np.bincount(components.ravel())[1:]
            hits = np.bincount(components[truth], minlength=len(sizes) + 1)[1:]
            for min_volume_mm3 in MIN_VOLUMES_MM3:
                kept = sizes * voxel_mm3 >= min_volume_mm3
                found, both = int(sizes[kept].sum()), int(hits[kept].sum())
                score = 2 * both / (found + total) if found + total else 1.0
                scores.setdefault((threshold, min_volume_mm3), []).append(score)
    if not scores:
        return OperatingPoint()
    means = {point: float(np.mean(values)) for point, values in scores.items()}
    best = max(means.values())
    near = [point for point, mean in means.items() if mean >= best - TIE_DICE]
    threshold, min_volume_mm3 = min(near, key=lambda point: (abs(point[0] - 0.5), point[1]))
    return OperatingPoint(threshold=threshold, min_volume_mm3=min_volume_mm3)

"""The operating point of a model: threshold and smallest lesion, chosen on validation patients."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from metseg.imaging import Float32Array, Mask
from metseg_trainer.evaluation.lesionwise import label_components

__all__ = ["OperatingPoint", "choose_operating_point"]


THRESHOLDS = tuple(round(float(value), 2) for value in np.arange(0.2, 0.81, 0.05))
SMALLEST_LESIONS_PX = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)
TIE_DICE = 0.001


@dataclass(frozen=True)
class OperatingPoint:
    """The probability from which a pixel is lesion, and the smallest component kept, in reference pixels."""

    threshold: float = 0.5
    smallest_lesion_px: float = 0.0


def choose_operating_point(studies: Iterable[tuple[Float32Array, Mask, float]]) -> OperatingPoint:
    """The operating point with the highest mean patient Dice.

    Points within 0.001 of the best tie, since a few validation patients cannot separate them; of these the one
    closest to a threshold of 0.5 is used, then the one that keeps the smallest lesions.

    Args:
        studies: of each validation patient its probability map, its true mask, and the area of one of its pixels in
            reference pixels.
    """
    scores: dict[OperatingPoint, list[float]] = {}
    for probability, truth, reference_px in studies:
        total = int(truth.sum())
        for threshold in THRESHOLDS:
            components = label_components(probability >= threshold)
            sizes = np.bincount(components.ravel())[1:]
            hits = np.bincount(components[truth], minlength=len(sizes) + 1)[1:]
            for smallest in SMALLEST_LESIONS_PX:
                kept = sizes * reference_px >= smallest
                found, both = int(sizes[kept].sum()), int(hits[kept].sum())
                score = 2 * both / (found + total) if found + total else 1.0
                scores.setdefault(OperatingPoint(threshold, smallest), []).append(score)
    if not scores:
        return OperatingPoint()
    means = {point: float(np.mean(values)) for point, values in scores.items()}
    best = max(means.values())
    near = [point for point, mean in means.items() if mean >= best - TIE_DICE]
    return min(near, key=lambda point: (abs(point.threshold - 0.5), point.smallest_lesion_px))

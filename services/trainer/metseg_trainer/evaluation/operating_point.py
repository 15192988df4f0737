"""The operating point of a model for each structure, chosen on validation patients."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from metseg.contracts import OperatingPoint
from metseg.imaging import Float32Array, Mask
from metseg_trainer.evaluation.candidates import Candidates, LesionCase
from metseg_trainer.evaluation.lesionwise import label_components

__all__ = ["choose_lesion_operating_point", "choose_operating_point", "choose_single_slice_seed"]

THRESHOLDS = tuple(round(float(value), 2) for value in np.arange(0.2, 0.96, 0.05))
MIN_VOLUMES_MM3 = (0.0, 5.0, 15.0, 50.0, 150.0, 400.0, 1000.0)
TIE_DICE = 0.001
LOW_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SEED_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99)
"""For a component's highest pixel. Higher ones have a better F1 but miss more, which costs a reader more."""
TIE_F1 = 0.01
MIN_LESION_MM3 = (0.0, 5.0, 15.0)
"""Smallest volumes of lesions of the core, whose median is 40 mm3 (see `lesion_model`)."""

Choice = TypeVar("Choice")


def choose_operating_point(
    studies: Iterable[tuple[Float32Array, Mask, float]], otherwise: OperatingPoint | None = None
) -> OperatingPoint:
    """The operating point with the highest mean patient Dice.

    Points within 0.001 of the best tie, since a few validation patients cannot separate them; of these the one
    closest to a threshold of 0.5 is used, then the one that keeps the smallest lesions.

    Args:
        studies: of each validation patient its probability map, its true mask, and the volume of a voxel in mm3.
        otherwise: the point without any study; None: the default.

    Returns:
        The point.
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
        return otherwise or OperatingPoint()
    means = {point: float(np.mean(values)) for point, values in scores.items()}
    best = max(means.values())
    near = [point for point, mean in means.items() if mean >= best - TIE_DICE]
    threshold, min_volume_mm3 = min(near, key=lambda point: (abs(point[0] - 0.5), point[1]))
    return OperatingPoint(threshold=threshold, min_volume_mm3=min_volume_mm3)


def choose_lesion_operating_point(cases: Iterable[LesionCase]) -> OperatingPoint:
    """The hysteresis thresholds and the smallest volume with the highest lesion-wise F1.

    A lesion counts as found if a component touches it; a component that touches neither a lesion nor unknown truth is
    false. Points within 0.01 of the best F1 tie; of these the one with the highest lesion-wise Dice is used, since a
    low threshold finds no less if it joins lesions or swells them.

    Args:
        cases: of the validation patients; without any, the default is returned.
    """
    studies = [{low: Candidates.of(case, low) for low in LOW_THRESHOLDS} for case in cases]
    if not studies:
        return OperatingPoint()
    scores = {
        point: _scores([study[point[0]] for study in studies], *point[1:])
        for point in itertools.product(LOW_THRESHOLDS, SEED_THRESHOLDS, MIN_LESION_MM3)
        if point[1] >= point[0]
    }
    low, seed, min_mm3 = _best(scores)
    return OperatingPoint(threshold=low, seed_threshold=seed, min_volume_mm3=min_mm3)


def choose_single_slice_seed(point: OperatingPoint, cases: Iterable[LesionCase]) -> OperatingPoint:
    """The operating point with a seed threshold for single slices, by the same rule as for studies.

    Args:
        point: of studies; its other values hold for slices too.
        cases: single slices of validation patients that show a lesion; without any, the point is unchanged.

    Returns:
        The point, with a seed threshold for single slices.
    """
    slices = [Candidates.of(case, point.threshold) for case in cases]
    if not slices:
        return point
    scores = {seed: _scores(slices, seed, point.min_volume_mm3) for seed in SEED_THRESHOLDS if seed >= point.threshold}
    return point.model_copy(update={"single_slice_seed_threshold": _best(scores)})


def _scores(studies: Sequence[Candidates], seed_threshold: float, min_mm3: float) -> tuple[float, float]:
    """F1 over all lesions of all studies, and lesion-wise Dice, where a missed and a false lesion count 0."""
    lesions = detected = false = 0
    dice = 0.0
    for study in studies:
        kept = (study.peaks >= seed_threshold) & (study.volumes_mm3 >= min_mm3)
        touching = (study.overlaps > 0) & kept
        lesions += len(touching)
        detected += int(touching.any(axis=1).sum())
        false += int((kept & ~study.excused).sum())
        both = (study.overlaps * touching).sum(axis=1)
        dice += float((2 * both / (study.lesion_sizes + (touching * study.sizes).sum(axis=1))).sum())
    return 2 * detected / max(1, lesions + detected + false), dice / max(1, lesions + false)


def _best(scores: Mapping[Choice, tuple[float, float]]) -> Choice:
    """The choice with the highest Dice of those whose F1 is nearly the best."""
    best = max(f1 for f1, _ in scores.values())
    near = {choice: dice for choice, (f1, dice) in scores.items() if f1 >= best - TIE_F1}
    return max(near, key=near.__getitem__)

"""The operating point of a model for each structure, chosen on validation patients."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.contracts import OperatingPoint
from metseg.imaging import Float32Array, Float64Array, LabelMap, Mask
from metseg_trainer.evaluation.lesionwise import label_components

__all__ = ["LesionCase", "choose_lesion_operating_point", "choose_operating_point"]


THRESHOLDS = tuple(round(float(value), 2) for value in np.arange(0.2, 0.81, 0.05))
MIN_VOLUMES_MM3 = (0.0, 5.0, 15.0, 50.0, 150.0, 400.0)
TIE_DICE = 0.001
LOW_THRESHOLDS, SEED_THRESHOLDS = (0.2, 0.3, 0.4, 0.5), (0.5, 0.7, 0.8, 0.9, 0.95)
MIN_LESION_MM3 = (0.0, 5.0, 15.0)
"""Smallest volumes of lesions of the core, whose median is 40 mm3 (see `lesion_model`)."""


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


@dataclass(frozen=True, eq=False)
class LesionCase:
    """A validation patient whose lesions are known one by one.

    Attributes:
        probability: float32 in [0, 1], (slice, row, column).
        labels: int32, the same shape: n where the n-th lesion is.
        unknown: bool, the same shape, where the truth is unknown; None if it is known.
        voxel_mm3: volume of a voxel.
    """

    probability: Float32Array
    labels: LabelMap
    unknown: Mask | None
    voxel_mm3: float


def choose_lesion_operating_point(cases: Iterable[LesionCase]) -> OperatingPoint:
    """The hysteresis thresholds and the smallest volume with the highest lesion-wise F1.

    A lesion counts as found if a component touches it; a component that touches neither a lesion nor unknown truth is
    false.

    Args:
        cases: of the validation patients; without any, the default is returned.
    """
    studies = [{low: _Components.of(case, low) for low in LOW_THRESHOLDS} for case in cases]
    if not studies:
        return OperatingPoint()
    points = itertools.product(LOW_THRESHOLDS, SEED_THRESHOLDS, MIN_LESION_MM3)
    low, seed, min_mm3 = max(points, key=lambda point: _f1([study[point[0]] for study in studies], *point[1:]))
    return OperatingPoint(threshold=low, seed_threshold=seed, min_volume_mm3=min_mm3)


@dataclass(frozen=True, eq=False)
class _Components:
    """The components of a study above a low threshold, numbered from 0.

    Attributes:
        peaks: the highest probability of each.
        volumes_mm3: of each.
        excused: whether each touches a true lesion or unknown truth.
        of_lesion: the components that touch each true lesion.
    """

    peaks: Float64Array
    volumes_mm3: Float64Array
    excused: Mask
    of_lesion: tuple[npt.NDArray[np.intp], ...]

    @classmethod
    def of(cls, case: LesionCase, low: float) -> "_Components":
        components = label_components(case.probability >= low)
        count = int(components.max())
        ignored = case.labels > 0 if case.unknown is None else (case.labels > 0) | case.unknown
        excused = np.zeros(count + 1, np.bool_)
        excused[np.unique(components[ignored])] = True
        touching = (np.unique(components[case.labels == number]) for number in range(1, int(case.labels.max()) + 1))
        return cls(
            np.asarray(ndimage.maximum(case.probability, components, np.arange(1, count + 1)), np.float64).reshape(-1),
            np.asarray(np.bincount(components.ravel(), minlength=count + 1)[1:] * case.voxel_mm3, np.float64),
            excused[1:],
            tuple(found[found > 0] - 1 for found in touching),
        )


def _f1(studies: Sequence[_Components], seed_threshold: float, min_mm3: float) -> float:
    """F1 over all lesions of all studies."""
    lesions = detected = false = 0
    for study in studies:
        kept = (study.peaks >= seed_threshold) & (study.volumes_mm3 >= min_mm3)
        lesions += len(study.of_lesion)
        detected += sum(bool(kept[components].any()) for components in study.of_lesion)
        false += int((kept & ~study.excused).sum())
    return 2 * detected / max(1, lesions + detected + false)

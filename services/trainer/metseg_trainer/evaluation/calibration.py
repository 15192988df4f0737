"""Calibration: whether a probability is one, and the operating point that validation patients choose."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from metseg_trainer.evaluation.lesionwise import label

__all__ = ["OperatingPoint", "Reliability", "choose"]

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

BINS = 10
CERTAIN_AIR = 0.01
THRESHOLDS = tuple(round(float(value), 2) for value in np.arange(0.2, 0.81, 0.05))
SMALLEST_PX = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)
NEAR_TIE = 0.001


@dataclass
class Reliability:
    """How often what is said to be lesion with probability p is one (Guo et al., ICML 2017), in ten bins.

    Only pixels count that are lesion or were given a probability above 0.01: the many that all agree on are right by
    themselves, and with them any model would look calibrated.
    """

    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    said: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    true: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, probability: Floats, truth: Mask) -> None:
        """Count a study's pixels."""
        counted = truth | (probability > CERTAIN_AIR)
        said, true = probability[counted], truth[counted]
        bins = np.minimum((said * BINS).astype(np.int64), BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.said += np.bincount(bins, weights=said, minlength=BINS)
        self.true += np.bincount(bins[true], minlength=BINS)

    def merge(self, other: "Reliability") -> None:
        """Count what another has counted."""
        self.pixels += other.pixels
        self.said += other.said
        self.true += other.true

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between what was said and what was true, weighted by pixels."""
        total = int(self.pixels.sum())
        return float(np.abs(self.said - self.true).sum() / total) if total else 0.0

    @property
    def points(self) -> list[tuple[float, float, int]]:
        """Of every bin that has pixels: the mean probability said, the share that was true, and the pixels."""
        return [
            (float(said / count), float(true / count), int(count))
            for said, true, count in zip(self.said, self.true, self.pixels, strict=True)
            if count
        ]


@dataclass(frozen=True)
class OperatingPoint:
    """From which probability on a pixel is lesion, and how small a component is kept, in reference pixels."""

    threshold: float = 0.5
    smallest_lesion_px: float = 0.0


def choose(studies: Iterable[tuple[Floats, Mask, float]]) -> OperatingPoint:
    """The operating point with the highest mean patient Dice.

    Points within 0.001 of the best tie, and the one closest to a threshold of 0.5, then the one that keeps the
    smallest lesions, is taken: a few validation patients cannot tell more.

    Args:
        studies: of each validation patient its probability map, its true mask, and the area of one of its pixels in
            reference pixels.
    """
    scores: dict[OperatingPoint, list[float]] = {}
    for probability, truth, reference_px in studies:
        total = int(truth.sum())
        for threshold in THRESHOLDS:
            components = label(probability >= threshold)
            sizes = np.bincount(components.ravel())[1:]
            hits = np.bincount(components[truth], minlength=len(sizes) + 1)[1:]
            for smallest in SMALLEST_PX:
                kept = sizes * reference_px >= smallest
                found, both = int(sizes[kept].sum()), int(hits[kept].sum())
                score = 2 * both / (found + total) if found + total else 1.0
                scores.setdefault(OperatingPoint(threshold, smallest), []).append(score)
    if not scores:
        return OperatingPoint()
    means = {point: float(np.mean(values)) for point, values in scores.items()}
    best = max(means.values())
    near = [point for point, mean in means.items() if mean >= best - NEAR_TIE]
    return min(near, key=lambda point: (abs(point.threshold - 0.5), point.smallest_lesion_px))

"""Calibration of probabilities."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from metseg.imaging import Float32Array, Float64Array, Mask

__all__ = ["ReliabilityDiagram"]


BINS = 10
MIN_COUNTED_PROBABILITY = 0.01


@dataclass
class ReliabilityDiagram:
    """How often pixels of a predicted probability p are lesion (Guo et al., ICML 2017), in ten bins.

    Only pixels count that are lesion or have a probability above 0.01: the many of air and healthy tissue would make
    any model look calibrated.

    Attributes:
        pixels: of each bin.
        predicted: sum of the predicted probabilities of each bin.
        true: pixels of each bin that are lesion.
    """

    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    predicted: Float64Array = field(default_factory=lambda: np.zeros(BINS))
    true: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, probability: Float32Array, truth: Mask) -> None:
        """Count a study's pixels.

        Args:
            probability: float32 in [0, 1], (slice, row, column).
            truth: bool, the same shape.
        """
        counted = truth | (probability > MIN_COUNTED_PROBABILITY)
        predicted, true = probability[counted], truth[counted]
        bins = np.minimum((predicted * BINS).astype(np.int64), BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.predicted += np.bincount(bins, weights=predicted, minlength=BINS)
        self.true += np.bincount(bins[true], minlength=BINS)

    def merge(self, other: "ReliabilityDiagram") -> None:
        """Add the counts of another diagram."""
        self.pixels += other.pixels
        self.predicted += other.predicted
        self.true += other.true

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between predicted and true share, weighted by pixels."""
        total = int(self.pixels.sum())
        return float(np.abs(self.predicted - self.true).sum() / total) if total else 0.0

    @property
    def points(self) -> list[tuple[float, float, int]]:
        """For every bin with pixels: mean predicted probability, share that is lesion, and pixels."""
        return [
            (float(predicted / count), float(true / count), int(count))
            for predicted, true, count in zip(self.predicted, self.true, self.pixels, strict=True)
            if count
        ]

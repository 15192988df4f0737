"""Calibration of probabilities, and the operating point chosen on validation patients."""

import numpy as np
import pytest

from metseg.contracts import OperatingPoint
from metseg_trainer.evaluation import choose_operating_point
from metseg_trainer.evaluation.calibration import ReliabilityDiagram


def test_a_calibrated_model_has_no_calibration_error():
    truth = np.array([[[True] * 7 + [False] * 3]])
    honest, bold = ReliabilityDiagram(), ReliabilityDiagram()
    honest.add(np.full(truth.shape, 0.7, np.float32), truth)
    bold.add(np.full(truth.shape, 0.95, np.float32), truth)
    assert honest.ece == pytest.approx(0, abs=1e-6)
    assert bold.ece == pytest.approx(0.25, abs=1e-6)
    assert bold.points == [(pytest.approx(0.95), pytest.approx(0.7), 10)]


def test_bins_are_weighted_by_pixel_count():
    reliability = ReliabilityDiagram()
    reliability.add(np.array([0.15, 0.15, 0.15, 0.85], np.float32), np.array([False, False, False, True]))
    assert reliability.ece == pytest.approx((3 * 0.15 + 1 * 0.15) / 4)


def test_certain_background_does_not_count_but_a_missed_lesion_does():
    reliability = ReliabilityDiagram()
    reliability.add(np.zeros((2, 100), np.float32), np.zeros((2, 100), bool))
    assert (reliability.ece, reliability.points) == (0, [])
    reliability.add(np.zeros((1, 4), np.float32), np.ones((1, 4), bool))
    assert reliability.ece == 1


def test_calibration_counts_are_additive():
    random = np.random.default_rng(0)
    studies = [(random.random((2, 5, 5), np.float32), random.random((2, 5, 5)) < 0.4) for _ in range(3)]
    whole, parts = ReliabilityDiagram(), ReliabilityDiagram()
    for probability, truth in studies:
        whole.add(probability, truth)
        part = ReliabilityDiagram()
        part.add(probability, truth)
        parts.merge(part)
    assert (whole.ece, whole.points) == (parts.ece, parts.points)


def study(lesion: float, specks: float = 0.0, size: int = 12) -> tuple[np.ndarray, np.ndarray, float]:
    """A lesion with one probability and, away from it, specks of three pixels with another."""
    probability, truth = np.zeros((1, 64, 64), np.float32), np.zeros((1, 64, 64), bool)
    truth[0, 4 : 4 + size, 4 : 4 + size] = True
    probability[truth] = lesion
    for row in range(30, 60, 4):
        probability[0, row, 30:33] = specks
    return probability, truth, 1.0


def test_the_threshold_maximises_dice():
    assert choose_operating_point([study(0.33), study(0.9)]).threshold == pytest.approx(0.3)


def test_in_a_tie_the_threshold_is_a_half_and_every_lesion_is_kept():
    assert choose_operating_point([study(0.95)]) == OperatingPoint()


def test_specks_as_probable_as_lesions_are_removed_by_size():
    assert choose_operating_point([study(0.95, specks=0.95)]) == OperatingPoint(min_volume_mm3=5.0)


def test_sizes_are_volumes():
    probability, truth, _ = study(0.95, specks=0.95)
    assert choose_operating_point([(probability, truth, 0.5)]).min_volume_mm3 == 5.0
    assert choose_operating_point([(probability, truth, 4.0)]).min_volume_mm3 == 15.0


def test_choosing_needs_validation_patients():
    assert choose_operating_point([]) == OperatingPoint()

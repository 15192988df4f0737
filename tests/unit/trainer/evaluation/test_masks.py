"""Metrics of one patient's mask, by hand and against scipy's distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from metseg_trainer.evaluation import EMPTY_CONVENTION, dice
from metseg_trainer.evaluation.masks import MaskMetrics, compare_masks

MASKS = arrays(bool, (3, 6, 6))
PAIRS = st.tuples(MASKS, MASKS)


def row(*pixels: int) -> np.ndarray:
    return np.array(pixels, bool)


@pytest.mark.parametrize(
    ("predicted", "truth", "score"),
    [
        (row(1, 1, 0, 0), row(1, 0, 0, 0), 2 / 3),
        (row(1, 1), row(1, 1), 1),
        (row(1, 0), row(0, 1), 0),
        (row(0, 0), row(0, 0), 1),
        (row(1, 0), row(0, 0), 0),
    ],
)
def test_dice_by_hand(predicted, truth, score):
    assert dice(predicted, truth) == pytest.approx(score)


def cube(first: int, stop: int, side: int = 12) -> np.ndarray:
    mask = np.zeros((side, side, side), bool)
    mask[first:stop, first:stop, first:stop] = True
    return mask


def test_all_metrics_by_hand():
    truth, predicted = cube(2, 6), np.roll(cube(2, 6), 1, axis=2)
    figures = compare_masks(predicted, truth, (1.0, 1.0, 1.0))
    assert figures.dice == figures.sensitivity == figures.precision == pytest.approx(0.75)
    assert figures.hd95_mm == pytest.approx(1)
    assert figures.surface_dice == pytest.approx(1)
    assert figures.volume_error == pytest.approx(0)
    doubled = compare_masks(truth | np.roll(truth, 4, axis=2), truth, (1.0, 1.0, 1.0))
    assert (doubled.volume_error, doubled.sensitivity, doubled.precision) == pytest.approx((1, 1, 0.5))


def test_distances_are_in_millimetres():
    truth, predicted = cube(2, 6), np.roll(cube(2, 6), 1, axis=0)
    assert compare_masks(predicted, truth, (5.0, 1.0, 1.0)).hd95_mm == pytest.approx(5)
    assert compare_masks(predicted, truth, (5.0, 1.0, 1.0)).surface_dice < 1
    assert compare_masks(predicted, truth, (0.5, 1.0, 1.0)).surface_dice == pytest.approx(1)


def test_empty_masks_follow_the_stated_convention():
    empty, full, spacing = np.zeros((2, 4, 4), bool), np.ones((2, 4, 4), bool), (1.0, 1.0, 1.0)
    assert compare_masks(empty, empty, spacing) == MaskMetrics(1, 1, 1, 0, 1, 0)
    assert compare_masks(empty, full, spacing) == MaskMetrics(0, 0, None, None, 0, -1)
    assert compare_masks(full, empty, spacing) == MaskMetrics(0, None, 0, None, 0, None)
    assert "both empty they agree" in EMPTY_CONVENTION


def edges(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def to_surface(mask: np.ndarray, other: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    return ndimage.distance_transform_edt(~edges(other), sampling=spacing)[edges(mask)]


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.sampled_from([(1.0, 1.0, 1.0), (4.0, 0.9, 0.9)]))
def test_surface_metrics_agree_with_scipys_distances(pair, spacing):
    predicted, truth = (np.pad(mask, 2) for mask in pair)
    figures = compare_masks(predicted, truth, spacing)
    if not predicted.any() or not truth.any():
        assert figures.hd95_mm in (None, 0)
        return
    there, back = to_surface(predicted, truth, spacing), to_surface(truth, predicted, spacing)
    assert figures.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-4)
    near = (there <= 1).sum() + (back <= 1).sum()
    assert figures.surface_dice == pytest.approx(near / (len(there) + len(back)), rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_metrics_are_bounded_and_do_not_depend_on_orientation(pair):
    predicted, truth = pair
    figures = compare_masks(predicted, truth, (2.0, 1.0, 1.0))
    for value in (figures.dice, figures.sensitivity, figures.precision, figures.surface_dice):
        assert value is None or 0 <= value <= 1
    turned = compare_masks(predicted[:, ::-1].copy(), truth[:, ::-1].copy(), (2.0, 1.0, 1.0))
    assert turned.dice == figures.dice
    assert turned.hd95_mm == (None if figures.hd95_mm is None else pytest.approx(figures.hd95_mm))
    swapped = compare_masks(truth, predicted, (2.0, 1.0, 1.0))
    assert (swapped.dice, swapped.sensitivity, swapped.precision) == (
        figures.dice,
        figures.precision,
        figures.sensitivity,
    )


def test_masks_of_different_shapes_are_an_error():
    with pytest.raises(ValueError, match="prediction of"):
        compare_masks(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool), (1, 1, 1))

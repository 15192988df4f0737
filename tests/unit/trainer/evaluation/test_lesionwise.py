"""Lesion-wise metrics: found, missed and false lesions, on masks small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from metseg_trainer.evaluation.lesionwise import diameter_stratum, label_components, match_lesions

MM = (1.0, 1.0, 1.0)
MASKS = arrays(bool, (3, 8, 8), elements=st.sampled_from([False, False, False, True]))


def at(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """One slice with rectangles (first row, stop row, first column, stop column)."""
    mask = np.zeros((1, 20, 20), bool)
    for top, bottom, left, right in boxes:
        mask[0, top:bottom, left:right] = True
    return mask


def test_found_missed_and_false_lesions_are_counted():
    truth = at((1, 5, 1, 5), (10, 12, 10, 12))
    predicted = at((1, 5, 1, 3), (15, 18, 1, 2))
    figures = match_lesions(predicted, label_components(truth), MM)
    assert [lesion.detected for lesion in figures.lesions] == [True, False]
    assert figures.lesions[0].dice == pytest.approx(2 * 8 / (8 + 16))
    assert figures.false_positives_mm == pytest.approx((3.0,), abs=0.3)
    assert figures.dice == pytest.approx((2 * 8 / 24 + 0 + 0) / 3)


def test_lesions_that_touch_at_a_corner_are_one():
    assert label_components(at((1, 3, 1, 3), (3, 5, 3, 5))).max() == 1
    across = np.zeros((2, 4, 4), bool)
    across[0, 0, 0] = across[1, 1, 1] = True
    assert label_components(across).max() == 1


def test_one_lesion_may_match_several_components_and_one_component_several_lesions():
    truth = at((1, 5, 1, 9))
    pieces = match_lesions(at((1, 5, 1, 4), (1, 5, 6, 9)), label_components(truth), MM)
    assert pieces.lesions[0].dice == pytest.approx(2 * 24 / (24 + 32))
    assert pieces.false_positives_mm == ()
    bridge = match_lesions(at((1, 3, 1, 9)), label_components(at((1, 3, 1, 3), (1, 3, 7, 9))), MM)
    assert [lesion.detected for lesion in bridge.lesions] == [True, True]
    assert [lesion.dice for lesion in bridge.lesions] == pytest.approx([2 * 4 / (16 + 4)] * 2)


def test_an_empty_prediction_of_an_empty_truth_is_perfect():
    empty = np.zeros((1, 4, 4), bool)
    assert match_lesions(empty, label_components(empty), MM).dice == 1
    assert match_lesions(at((1, 3, 1, 3)), label_components(np.zeros((1, 20, 20), bool)), MM).dice == 0


def test_known_diameters_are_used_and_others_measured_in_millimetres():
    truth = label_components(at((1, 5, 1, 5)))
    assert match_lesions(truth > 0, truth, MM, diameters_mm=[2.5]).lesions[0].diameter_mm == 2.5
    measured = [match_lesions(truth > 0, truth, (5.0, side, side)).lesions[0].diameter_mm for side in (1.0, 2.0)]
    assert measured[1] == pytest.approx(2 * measured[0])
    with pytest.raises(ValueError, match="1 diameters for 2 lesions"):
        match_lesions(truth > 0, label_components(at((1, 3, 1, 3), (8, 9, 8, 9))), MM, diameters_mm=[1.0])


def test_a_false_lesion_half_on_a_vessel_is_counted_as_such():
    nothing = label_components(np.zeros((1, 20, 20), bool))
    predicted, vessels = at((1, 3, 1, 5), (10, 14, 10, 14)), at((1, 3, 1, 3), (10, 11, 10, 11))
    figures = match_lesions(predicted, nothing, MM, vessels=vessels)
    assert (len(figures.false_positives_mm), figures.false_on_vessels) == (2, 1)
    assert match_lesions(predicted, nothing, MM).false_on_vessels is None


@pytest.mark.parametrize(
    ("diameter_mm", "name"),
    [(5.9, "below 6 mm"), (6, "6 to 10 mm"), (10, "10 to 20 mm"), (19.9, "10 to 20 mm"), (20, "20 mm and more")],
)
def test_size_strata_include_their_lower_bound(diameter_mm, name):
    assert diameter_stratum(diameter_mm) == name


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, st.randoms(use_true_random=False))
def test_metrics_agree_with_scipy_in_any_label_order(predicted, truth, random):
    labels, count = ndimage.label(truth, np.ones((3, 3, 3)))
    figures = match_lesions(predicted, label_components(truth), MM)
    assert len(figures.lesions) == count
    hit = {number for number in range(1, count + 1) if predicted[labels == number].any()}
    assert sum(lesion.detected for lesion in figures.lesions) == len(hit)
    found, number_found = ndimage.label(predicted, np.ones((3, 3, 3)))
    false = [number for number in range(1, number_found + 1) if not truth[found == number].any()]
    assert len(figures.false_positives_mm) == len(false)
    assert 0 <= figures.dice <= 1
    order = list(range(1, count + 1))
    random.shuffle(order)
    renamed = np.array([0, *order], np.int32)[labels]
    assert match_lesions(predicted, renamed, MM).dice == pytest.approx(figures.dice)


def test_masks_of_different_shapes_are_an_error():
    with pytest.raises(ValueError, match="prediction of"):
        match_lesions(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), np.int32), MM)

"""Corruptions of scans change the intended pixels, and the truth follows."""

import numpy as np
import pytest

from metseg import phantom
from metseg_trainer.evaluation import CORRUPTIONS, dice


@pytest.fixture(scope="module")
def head():
    return phantom.head(5, slices=5, size_px=128, lesions=3)


@pytest.mark.parametrize("key", CORRUPTIONS)
def test_a_corruption_changes_a_copy_deterministically(head, key):
    before = head.volume.pixels.copy()
    volume, truth = CORRUPTIONS[key].apply(head.volume, head.mask)
    again, _ = CORRUPTIONS[key].apply(head.volume, head.mask)
    assert np.array_equal(head.volume.pixels, before)
    assert np.array_equal(volume.pixels, again.pixels)
    assert volume.pixels.shape[:3] == truth.shape
    assert volume.pixels.shape != before.shape or not np.array_equal(volume.pixels, before)
    assert truth.dtype == np.bool_


@pytest.mark.parametrize("key", [key for key in CORRUPTIONS if key not in ("512-px", "180-px", "rotated-15")])
def test_truth_is_unchanged_if_the_head_does_not_move(head, key):
    assert np.array_equal(CORRUPTIONS[key].apply(head.volume, head.mask)[1], head.mask)


@pytest.mark.parametrize(
    ("key", "present", "channels"),
    [
        ("flair-only", (False, True, False), [1, 1, 1]),
        ("post-only", (False, False, True), [2, 2, 2]),
        ("pre-only", (True, False, False), [0, 0, 0]),
        ("flair-and-post", (False, True, True), [1, 1, 2]),
        ("pre-and-post", (True, False, True), [0, 2, 2]),
        ("pre-and-flair", (True, True, False), [0, 1, 1]),
    ],
)
def test_a_study_of_some_sequences_has_one_of_them_in_place_of_the_others(head, key, present, channels):
    volume, _ = CORRUPTIONS[key].apply(head.volume, head.mask)
    assert volume.present == present
    assert np.array_equal(volume.pixels, head.volume.pixels[..., channels])


@pytest.mark.parametrize(("key", "side"), [("512-px", 512), ("180-px", 180)])
def test_truth_is_scaled_with_its_slices(head, key, side):
    volume, truth = CORRUPTIONS[key].apply(head.volume, head.mask)
    assert truth.shape == (5, side, side)
    assert truth.sum() / head.mask.sum() == pytest.approx((side / 128) ** 2, rel=0.05)
    assert volume.spacing_mm[1] == pytest.approx(head.volume.spacing_mm[1] * 128 / side)


def test_truth_is_rotated_with_its_slices(head):
    turned, truth = CORRUPTIONS["rotated-15"].apply(head.volume, head.mask)
    assert truth.sum() == pytest.approx(head.mask.sum(), rel=0.1)
    assert dice(truth, head.mask) < 0.99
    bright = head.volume.pixels[head.mask].mean(axis=0)
    assert turned.pixels[truth].mean(axis=0) == pytest.approx(bright, rel=0.1)


def test_gamma_brightens_below_one_and_darkens_above(head):
    middle = head.volume.pixels.mean()
    assert CORRUPTIONS["gamma-0.7"].apply(head.volume, head.mask)[0].pixels.mean() > middle
    assert CORRUPTIONS["gamma-1.4"].apply(head.volume, head.mask)[0].pixels.mean() < middle


def test_brightness_is_clipped_at_the_top(head):
    pixels = CORRUPTIONS["cut-98"].apply(head.volume, head.mask)[0].pixels
    for channel in range(3):
        assert (pixels[..., channel] == 255).sum() > (head.volume.pixels[..., channel] == 255).sum()


def test_without_skull_the_rim_is_dark_and_the_lesion_remains(head):
    pixels = CORRUPTIONS["stripped"].apply(head.volume, head.mask)[0].pixels
    assert np.array_equal(pixels[head.mask], head.volume.pixels[head.mask])
    assert (pixels > 0).sum() < 0.95 * (head.volume.pixels > 0).sum()


def test_other_bit_depths_become_eight_bits(head):
    deep = type(head.volume)(head.volume.pixels.astype(np.uint16) * 16, head.volume.names)
    for key in ("jpeg-75", "noise", "gamma-1.4", "180-px"):
        assert CORRUPTIONS[key].apply(deep, head.mask)[0].pixels.dtype == np.uint8

"""Preprocessing, which training and serving share to the pixel."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg.errors import UnusableImage
from metseg.imaging import HEAD_PX, Preprocessor, Volume, crop_or_pad, preprocess

CONTRACT = Preprocessing()
PREPROCESSOR = Preprocessor(CONTRACT)


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return phantom.head(7, slices=5, size_px=256, lesions=3)


def box_of_noise(frame: tuple[int, int], rows: slice, columns: slice) -> Volume:
    """Noise in a box in black air; size and box are given in model pixels."""
    pixels = np.zeros((2, *frame, 3), np.uint8)
    shape = (2, rows.stop - rows.start, columns.stop - columns.start, 3)
    pixels[:, rows, columns] = np.random.default_rng(0).integers(80, 255, shape)
    return Volume(pixels.repeat(2, axis=1).repeat(2, axis=2), ("a", "b"), spacing_mm=(5.0, 0.9, 0.9))


def without_spacing(volume: Volume) -> Volume:
    return replace(volume, spacing_mm=None, affine=None)


def resized(volume: Volume, rows: int, columns: int) -> Volume:
    pixels = np.stack([cv2.resize(one, (columns, rows), interpolation=cv2.INTER_AREA) for one in volume.pixels])
    return replace(volume, pixels=pixels)


def everything(volume: Volume) -> np.ndarray:
    prepared = PREPROCESSOR.prepare(volume)
    return prepared.tensor(slice(None))


def test_a_slice_of_training_size_is_scaled_only_by_the_contract(head):
    assert PREPROCESSOR.prepare(without_spacing(head.volume)).geometry.frame == (128, 128)


def test_model_input_is_standardised_over_the_head():
    prepared = PREPROCESSOR.prepare(box_of_noise((128, 120), slice(12, 116), slice(20, 108)))
    tensor = prepared.tensor(slice(None))
    assert tensor.dtype == np.float32
    inside = tensor[:, 4:108, 4:92].astype(np.float64)
    np.testing.assert_allclose(inside.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(inside.std(axis=(0, 1, 2)), 1, atol=1e-3)
    assert tensor[:, 112 - 4 :].max() < -1  # air is darker


def test_the_box_is_the_heads_widened_to_multiples_of_sixteen():
    geometry = PREPROCESSOR.prepare(box_of_noise((128, 120), slice(12, 116), slice(20, 108))).geometry
    assert geometry.frame == (128, 120)
    assert geometry.origin == (12 - 4, 20 - 4)
    assert geometry.box == (104 + 8, 88 + 8)


def test_restore_puts_a_mask_back_in_place(head):
    geometry = PREPROCESSOR.prepare(head.volume).geometry
    back = Preprocessor.restore(Preprocessor.prepare_truth(head.mask, geometry), geometry) >= 0.5
    overlap = 2 * (back & head.mask).sum() / (back.sum() + head.mask.sum())
    assert overlap > 0.93


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0), (150, 900), (20, 40)])
def test_a_scanners_gain_and_offset_change_little(head, gain, offset):
    pixels = np.rint(head.volume.pixels.astype(np.float64) * gain + offset).astype(np.uint16)
    same, other = everything(head.volume), everything(replace(head.volume, pixels=pixels))
    assert same.shape == other.shape
    assert np.abs(same - other).mean() < 0.15


@pytest.mark.parametrize("size", [180, 512])
def test_a_resized_export_is_scaled_to_the_training_size(head, size):
    plain = without_spacing(head.volume)
    exported = resized(plain, size, size)
    box, other = PREPROCESSOR.prepare(plain).geometry.box, PREPROCESSOR.prepare(exported).geometry.box
    assert all(abs(one - two) <= 16 for one, two in zip(box, other, strict=True))


def test_known_spacing_determines_the_scale(head):
    volume = replace(head.volume, spacing_mm=(5.0, 0.9, 0.9))
    doubled = replace(resized(volume, 512, 512), spacing_mm=(5.0, 0.45, 0.45))
    assert PREPROCESSOR.prepare(doubled).geometry.frame == PREPROCESSOR.prepare(volume).geometry.frame


def test_a_small_head_in_a_wide_field_is_scaled_to_the_training_size(head):
    plain = without_spacing(head.volume)
    small = np.zeros((len(plain.pixels), 320, 320, 3), np.uint8)
    small[:, 96:224, 96:224] = resized(plain, 128, 128).pixels
    box = PREPROCESSOR.prepare(replace(plain, pixels=small)).geometry.box
    assert abs(max(box) - HEAD_PX * CONTRACT.pixel_scale) <= 16


def test_a_single_slice_near_the_vertex_is_not_enlarged():
    disc = np.zeros((1, 512, 512, 3), np.uint8)
    cv2.circle(disc[0], (256, 256), 100, (90, 120, 100), thickness=-1)
    geometry = PREPROCESSOR.prepare(Volume(disc, ("a",))).geometry
    assert geometry.frame == (128, 128)


def test_beyond_the_frame_there_is_air():
    prepared = PREPROCESSOR.prepare(box_of_noise((36, 120), slice(0, 36), slice(12, 108)))
    assert (prepared.geometry.origin, prepared.geometry.box) == ((-6, 12), (48, 96))
    dark = np.percentile(prepared.pixels[:, 6:-6], 5)
    assert prepared.pixels[:, :6].max() < dark
    assert prepared.pixels[:, -6:].max() < dark


def test_restore_drops_predictions_beyond_the_frame():
    geometry = PREPROCESSOR.prepare(box_of_noise((36, 120), slice(0, 36), slice(12, 108))).geometry
    beyond = np.ones((2, *geometry.box), np.float32)
    beyond[:, 6:-6] = 0
    assert not PREPROCESSOR.restore(beyond, geometry).any()
    back = PREPROCESSOR.restore(1 - beyond, geometry)
    assert back.shape == (2, 72, 240)
    assert back[:, :, 26:214].min() == 1
    assert not back[:, :, :22].any()


def test_a_crop_that_reaches_beyond_the_slice_is_padded_with_zeros():
    pixels = np.arange(1, 13, dtype=np.uint16).reshape(1, 3, 4)
    assert crop_or_pad(pixels, (-1, 1), (3, 2)).tolist() == [[[0, 0], [2, 3], [6, 7]]]
    assert crop_or_pad(pixels, (2, 3), (2, 2)).tolist() == [[[12, 0], [0, 0]]]


def test_a_slice_without_head_needs_no_network(head):
    pixels = head.volume.pixels.copy()
    pixels[2] = 0
    occupied = PREPROCESSOR.prepare(replace(head.volume, pixels=pixels)).occupied
    assert occupied.tolist() == [True, True, False, True, True]


def test_noise_without_a_head_is_segmented_whole():
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[0, 30, 30] = 255
    prepared = PREPROCESSOR.prepare(Volume(pixels, ("a",)))
    assert prepared.occupied.all()


def test_a_map_of_another_shape_is_refused(head):
    geometry = PREPROCESSOR.prepare(head.volume).geometry
    with pytest.raises(ValueError, match="expected"):
        Preprocessor.restore(np.zeros((5, 16, 16), np.float32), geometry)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(16, 300), st.integers(16, 300)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    spacing=st.none() | st.tuples(*[st.floats(0.4, 6.0)] * 3),
    seed=st.integers(0, 1000),
)
def test_any_study_is_restored_to_its_own_size(shape, dtype, spacing, seed):
    pixels = (np.random.default_rng(seed).random((*shape, 3)) * 250).astype(dtype)
    volume = Volume(pixels, tuple(str(index) for index in range(shape[0])), spacing_mm=spacing)
    prepared = PREPROCESSOR.prepare(volume)
    tensor = prepared.tensor(slice(None))
    assert np.isfinite(tensor).all()
    assert tensor.shape == (shape[0], *prepared.geometry.box, 3)
    assert all(side % CONTRACT.multiple == 0 for side in prepared.geometry.box)
    back = Preprocessor.restore(np.full(tensor.shape[:3], 0.75, np.float32), prepared.geometry)
    assert back.shape == shape
    assert back.min() >= 0
    assert back.max() <= 0.7501


def test_slices_in_which_the_head_is_a_speck_are_refused(monkeypatch):
    monkeypatch.setattr(preprocess, "MAX_SCALED_PX", 2 * 256 * 256)
    pixels = np.zeros((2, 320, 320, 3), np.uint8)
    pixels[:, 150:165, 150:165] = 200
    with pytest.raises(UnusableImage, match="crop them to the head"):
        PREPROCESSOR.prepare(Volume(pixels, ("a", "b")))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_sequence_for_all_channels_is_prepared_as_three_copies_of_it(head, dtype):
    grey = head.volume.pixels[..., 1].astype(dtype)
    shared = replace(head.volume, pixels=np.broadcast_to(grey[..., np.newaxis], (*grey.shape, 3)))
    copied = replace(head.volume, pixels=np.repeat(grey[..., np.newaxis], 3, axis=3))
    assert np.array_equal(everything(shared), everything(copied))

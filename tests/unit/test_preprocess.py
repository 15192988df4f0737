"""What training and serving share to the pixel."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg.imaging import HEAD_PX, Volume, from_output, to_input, truth_to_input

CONTRACT = Preprocessing()


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return phantom.head(7, slices=5, size_px=256, lesions=3)


def without_spacing(volume: Volume) -> Volume:
    return replace(volume, spacing_mm=None, affine=None)


def resized(volume: Volume, rows: int, columns: int) -> Volume:
    pixels = np.stack([cv2.resize(one, (columns, rows), interpolation=cv2.INTER_AREA) for one in volume.pixels])
    return replace(volume, pixels=pixels)


def everything(volume: Volume) -> np.ndarray:
    prepared = to_input(volume, CONTRACT)
    return prepared.tensor(slice(None))


def test_a_slice_of_training_size_is_not_scaled_but_by_the_contract(head):
    assert to_input(without_spacing(head.volume), CONTRACT).geometry.frame == (128, 128)


def test_what_a_network_sees_is_standardised_over_the_head(head):
    prepared = to_input(head.volume, CONTRACT)
    tensor = prepared.tensor(slice(None))
    assert tensor.dtype == np.float32
    bright = tensor[prepared.pixels.max(axis=-1) > 60]
    assert abs(float(bright.mean())) < 0.5
    assert 0.5 < float(bright.std()) < 1.5


def test_the_box_holds_the_whole_head_in_multiples_of_sixteen(head):
    geometry = to_input(head.volume, CONTRACT).geometry
    assert all(side % 16 == 0 for side in geometry.box)
    assert geometry.box[0] >= 96
    assert geometry.box[0] < 144


def test_the_way_back_returns_a_mask_to_its_place(head):
    geometry = to_input(head.volume, CONTRACT).geometry
    back = from_output(truth_to_input(head.mask, geometry), geometry) >= 0.5
    overlap = 2 * (back & head.mask).sum() / (back.sum() + head.mask.sum())
    assert overlap > 0.93


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0), (150, 900), (20, 40)])
def test_a_scanners_gain_and_offset_change_little(head, gain, offset):
    pixels = np.rint(head.volume.pixels.astype(np.float64) * gain + offset).astype(np.uint16)
    same, other = everything(head.volume), everything(replace(head.volume, pixels=pixels))
    assert same.shape == other.shape
    assert np.abs(same - other).mean() < 0.15


@pytest.mark.parametrize("size", [180, 512])
def test_a_resized_export_comes_to_the_size_of_training(head, size):
    plain = without_spacing(head.volume)
    exported = resized(plain, size, size)
    box, other = to_input(plain, CONTRACT).geometry.box, to_input(exported, CONTRACT).geometry.box
    assert all(abs(one - two) <= 16 for one, two in zip(box, other, strict=True))


def test_known_spacing_decides_the_size(head):
    volume = replace(head.volume, spacing_mm=(5.0, 0.9, 0.9))
    doubled = replace(resized(volume, 512, 512), spacing_mm=(5.0, 0.45, 0.45))
    assert to_input(doubled, CONTRACT).geometry.frame == to_input(volume, CONTRACT).geometry.frame


def test_a_small_head_in_a_wide_field_is_brought_to_the_size_of_training(head):
    plain = without_spacing(head.volume)
    small = np.zeros((len(plain.pixels), 320, 320, 3), np.uint8)
    small[:, 96:224, 96:224] = resized(plain, 128, 128).pixels
    box = to_input(replace(plain, pixels=small), CONTRACT).geometry.box
    assert abs(max(box) - HEAD_PX * CONTRACT.pixel_scale) <= 16


def test_a_lone_slice_near_the_vertex_is_not_blown_up():
    disc = np.zeros((1, 512, 512, 3), np.uint8)
    cv2.circle(disc[0], (256, 256), 100, (90, 120, 100), thickness=-1)
    geometry = to_input(Volume(disc, ("a",)), CONTRACT).geometry
    assert geometry.frame == (128, 128)


def test_beyond_the_frame_there_is_air():
    pixels = np.full((1, 64, 250, 3), 10, np.uint8)
    pixels[:, 2:62, 20:230] = np.random.default_rng(0).integers(80, 255, (60, 210, 3))
    volume = Volume(pixels, ("a",), spacing_mm=(1.0, 0.9, 0.9))
    prepared = to_input(volume, CONTRACT)
    assert prepared.geometry.origin[0] <= 0
    assert from_output(np.ones(prepared.pixels.shape[:3], np.float32), prepared.geometry).shape == (1, 64, 250)


def test_a_slice_without_head_needs_no_network(head):
    pixels = head.volume.pixels.copy()
    pixels[2] = 0
    occupied = to_input(replace(head.volume, pixels=pixels), CONTRACT).occupied
    assert occupied.tolist() == [True, True, False, True, True]


def test_noise_without_any_head_is_taken_whole():
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[0, 30, 30] = 255
    prepared = to_input(Volume(pixels, ("a",)), CONTRACT)
    assert prepared.occupied.all()


def test_a_map_of_another_shape_is_refused(head):
    geometry = to_input(head.volume, CONTRACT).geometry
    with pytest.raises(ValueError, match="expected"):
        from_output(np.zeros((5, 16, 16), np.float32), geometry)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(16, 300), st.integers(16, 300)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    spacing=st.none() | st.tuples(*[st.floats(0.4, 6.0)] * 3),
    seed=st.integers(0, 1000),
)
def test_any_study_goes_in_and_comes_back_in_its_own_size(shape, dtype, spacing, seed):
    pixels = (np.random.default_rng(seed).random((*shape, 3)) * 250).astype(dtype)
    volume = Volume(pixels, tuple(str(index) for index in range(shape[0])), spacing_mm=spacing)
    prepared = to_input(volume, CONTRACT)
    tensor = prepared.tensor(slice(None))
    assert np.isfinite(tensor).all()
    assert tensor.shape == (shape[0], *prepared.geometry.box, 3)
    assert all(side % CONTRACT.multiple == 0 for side in prepared.geometry.box)
    back = from_output(np.full(tensor.shape[:3], 0.75, np.float32), prepared.geometry)
    assert back.shape == shape
    assert back.min() >= 0
    assert back.max() <= 0.7501

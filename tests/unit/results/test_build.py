from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from tests.models import tiny_card
from tests.segmentations import segmentation_of

from metseg import phantom
from metseg.errors import NotFound, ProcessingFailed
from metseg.formats import read_mask, read_probability
from metseg.imaging import Volume, measure, rendering
from metseg.results import SliceArchive, build


def volume_of(pixels, **known):
    return Volume(pixels, tuple(f"s{index}" for index in range(len(pixels))), **known)


def opened(png):
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image)


def segmented(head, *warnings):
    probability = head.mask * np.float32(0.9)
    found = measure(head.mask, head.volume.spacing_mm, probability)
    return segmentation_of(probability, head.mask, found, warnings, threshold=0.4)


@pytest.fixture(scope="module")
def head():
    return phantom.head(3, slices=5, size_px=64, lesions=2)


@pytest.fixture
def ramp():
    """A disc of increasing brightness in air, in three channels of different scale."""
    rows, columns = np.mgrid[-32:32, -32:32]
    disc = np.where(np.hypot(rows, columns) < 24, 100 + columns, 0)
    return np.stack([disc, 2 * disc, disc / 10], axis=-1)[None].astype(np.float32)


def test_a_display_uses_the_whole_range_of_every_channel(ramp):
    shown = rendering.window_volume(volume_of(ramp))
    assert (shown.dtype, shown.shape) == (np.uint8, ramp.shape)
    assert shown[0, 0, 0].tolist() == [0, 0, 0]
    assert shown.max(axis=(0, 1, 2)).tolist() == [255, 255, 255]
    assert np.ptp(shown.astype(int), axis=3).max() <= 1  # the channel's scale is removed


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_display_does_not_depend_on_the_dtype(ramp, dtype):
    whole = np.rint(ramp).astype(dtype)
    shown = rendering.window_volume(volume_of(whole))
    assert np.array_equal(shown, rendering.window_volume(volume_of(whole.astype(np.float32))))


@given(arrays(st.sampled_from([np.uint8, np.uint16]), st.integers(1, 300)))
def test_a_window_from_counts_equals_one_from_sorted_values(values):
    assert rendering.estimate_window(values) == rendering.estimate_window(values.astype(np.float64))


def test_a_display_does_not_follow_one_hot_pixel(ramp):
    hot = ramp.copy()
    hot[0, 0, 0] = 30_000
    calm, shown = rendering.window_volume(volume_of(ramp)), rendering.window_volume(volume_of(hot))
    assert np.abs(calm.astype(int) - shown)[0, 1:].max() <= 3


def test_all_slices_share_one_window(ramp):
    shown = rendering.window_volume(volume_of(np.concatenate([ramp, ramp / 2])))
    assert shown[1].max() == pytest.approx(shown[0].max() / 2, abs=3)


def test_values_below_zero_are_shown(ramp):
    assert np.array_equal(rendering.window_volume(volume_of(ramp - 1000)), rendering.window_volume(volume_of(ramp)))


def test_an_empty_channel_is_black(ramp):
    ramp[..., 2] = 7
    assert not rendering.window_volume(volume_of(ramp))[..., 2].any()


def test_an_overlay_has_the_requested_opacity():
    pixels = np.full((4, 5, 3), 100, np.uint8)
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    for opacity in (0.0, 0.5, 1.0):
        drawn = rendering.overlay(pixels, mask, opacity=opacity)
        assert drawn.dtype == np.uint8
        assert drawn[1, 2] == pytest.approx((1 - opacity) * 100 + opacity * np.array(rendering.LESION_RGB), abs=0.5)
        assert (drawn[~mask] == 100).all()


def test_a_contour_surrounds_a_lesion_without_covering_it():
    mask = np.zeros((6, 6), bool)
    mask[2, 2] = mask[5, 5] = True
    drawn = rendering.overlay(np.zeros((6, 6, 3), np.uint8), mask, opacity=1.0, contour=True)
    marked = (drawn == rendering.LESION_RGB).all(axis=2)
    assert np.argwhere(marked).tolist() == [[1, 2], [2, 1], [2, 3], [3, 2], [4, 5], [5, 4]]
    assert not drawn[~marked].any()


def test_an_overlay_shows_the_requested_channel_or_the_mean():
    pixels = np.tile(np.array([10, 40, 100], np.uint8), (3, 3, 1))
    nothing = np.zeros((3, 3), bool)
    shown = [rendering.overlay(pixels, nothing, channel)[0, 0].tolist() for channel in (0, 1, 2, None)]
    assert shown == [[10] * 3, [40] * 3, [100] * 3, [50] * 3]
    assert rendering.overlay(pixels, nothing)[0, 0].tolist() == [40] * 3


def test_a_mask_of_another_size_raises_value_error():
    with pytest.raises(ValueError, match="shaped as the slice"):
        rendering.overlay(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 4), bool))


@pytest.mark.parametrize(("shape", "dtype"), [((7, 9), np.uint8), ((7, 9), np.uint16), ((7, 9, 3), np.uint8)])
def test_a_png_keeps_every_pixel_and_is_reproducible(shape, dtype):
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    assert np.array_equal(opened(rendering.encode_png(image)), image)
    assert rendering.encode_png(image) == rendering.encode_png(image.copy())


def test_a_result_names_its_findings_and_model(head):
    card = tiny_card(b"model")
    result = build.build_result("job", head.volume, segmented(head), card, {"read": 0.5})
    assert (result.job_id, result.model_version, result.network) == ("job", card.version, card.network)
    assert (result.threshold, result.durations_s) == (0.4, {"read": 0.5})
    assert (result.shape, result.spacing_mm) == ((5, 64, 64), head.volume.spacing_mm)
    assert [lesion.number for lesion in result.lesions] == [1, 2]
    assert [one.name for one in result.slices] == list(head.volume.names)
    assert [one.area_px for one in result.slices] == head.mask.sum(axis=(1, 2)).tolist()
    assert result.warnings == []
    assert "Research use only" in result.disclaimer
    assert type(result).model_validate_json(result.model_dump_json()) == result


def test_a_result_repeats_no_warning(head):
    volume = replace(head.volume, warnings=("grey", "small"))
    result = build.build_result("job", volume, segmented(head, "grey", "old model"), tiny_card(b"model"), {})
    assert result.warnings == ["grey", "small", "old model"]


def test_a_result_without_spacing_says_that_its_sizes_are_pixels(head):
    unplaced = replace(head, volume=replace(head.volume, spacing_mm=None, affine=None))
    result = build.build_result("job", unplaced.volume, segmented(unplaced), tiny_card(b"model"), {})
    assert result.warnings == [build.NO_SPACING]
    assert result.lesions[0].long_diameter_mm is None


def drawn(volume):
    return SliceArchive(BytesIO(build.render_slices(volume)))


def test_artefacts_include_maps_and_an_image_per_slice(head):
    kept = build.build_artefacts(head.volume, segmented(head))
    assert sorted(kept) == [
        "lesions.nii.gz",
        "mask.nii.gz",
        "probability.nii.gz",
        "slices.zip",
        "whole.nii.gz",
        "whole_probability.nii.gz",
    ]
    assert np.array_equal(read_mask(kept["mask.nii.gz"]), head.mask)
    assert read_probability(kept["probability.nii.gz"]) == pytest.approx(head.mask * 0.9, abs=1e-4)


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("channels", [[0, 1, 2], [1, 1, 1]])
def test_lesions_are_outlined_on_the_chosen_sequence(head, channels, channel):
    shown = replace(head.volume, pixels=head.volume.pixels[..., channels])
    index = int(head.mask.sum(axis=(1, 2)).argmax())
    marked = opened(rendering.draw_contours(drawn(shown).read_slice(index), head.mask[index], channel))
    outlined = (marked == rendering.LESION_RGB).all(axis=2)
    assert outlined.any()
    assert not (outlined & head.mask[index]).any()
    grey = rendering.window_volume(shown)[index, ..., channel : channel + 1]
    assert np.array_equal(marked[~outlined], np.repeat(grey, 3, axis=2)[~outlined])


@pytest.mark.parametrize("damaged", [b"", b"junk", rendering.encode_png(np.zeros((3, 4), np.uint8))])
def test_a_damaged_image_is_reported(damaged):
    with pytest.raises(ProcessingFailed, match="damaged"):
        rendering.draw_contours(damaged, np.zeros((4, 4), bool))


def test_slice_images_contain_every_sequence(head):
    kept, shown = drawn(head.volume), rendering.window_volume(head.volume)
    assert all(np.array_equal(opened(kept.read_slice(index)), shown[index]) for index in range(5))


def test_a_grey_study_has_grey_slices(head):
    grey = replace(head, volume=replace(head.volume, pixels=head.volume.pixels[..., [1, 1, 1]]))
    assert np.array_equal(opened(drawn(grey.volume).read_slice(2)), rendering.window_volume(grey.volume)[2, ..., 1])


def test_equal_studies_have_equal_artefacts(head):
    once, again = (build.build_artefacts(head.volume, segmented(head)) for _ in range(2))
    assert once == again


def test_rendering_stops_when_its_result_is_no_longer_wanted(head):
    asked = []
    pack = SliceArchive(BytesIO(build.render_slices(head.volume, lambda: len(asked) == 2 or bool(asked.append(1)))))
    pack.read_slice(1)
    with pytest.raises(NotFound):
        pack.read_slice(2)

import time

import numpy as np
import pytest

from metseg import phantom
from metseg.imaging import CHANNELS, measure

PRE, FLAIR, POST = range(len(CHANNELS))


def small(seed, **changes):
    return phantom.head(seed, **{"slices": 8, "size_px": 96, **changes})


@pytest.fixture(scope="module")
def heads():
    """A few whole heads, which tests do not change."""
    return [phantom.head(seed, lesions=4) for seed in range(3)]


def test_a_head_is_a_study_with_ground_truth():
    made = phantom.head(1, slices=6, size_px=64, spacing_mm=(4.0, 0.8, 0.7))
    assert made.volume.pixels.shape == (6, 64, 64, 3)
    assert made.volume.pixels.dtype == np.uint8
    assert made.volume.names == tuple(f"slice_00{index}" for index in range(6))
    assert made.volume.spacing_mm == (4.0, 0.8, 0.7)
    assert made.volume.warnings == ()
    assert (made.mask.shape, made.mask.dtype) == ((6, 64, 64), bool)


def test_a_heads_centre_is_the_origin_of_patient_space():
    affine = small(1).volume.affine
    assert affine @ [47.5, 47.5, 3.5, 1] == pytest.approx([0, 0, 0, 1])
    # columns run to the left, rows to the back, slices to the top; RAS+ counts right, front and top
    assert np.diag(affine) == pytest.approx([-0.9, -0.9, 5, 1])


def test_a_seed_determines_the_head():
    one, same, other = small(7), small(7), small(8)
    assert np.array_equal(one.volume.pixels, same.volume.pixels)
    assert np.array_equal(one.mask, same.mask)
    assert one.lesions == same.lesions
    assert not np.array_equal(one.volume.pixels, other.volume.pixels)


@pytest.mark.parametrize("lesions", [0, 1, 3, 20])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_lesion_is_one_component_of_the_mask(seed, lesions):
    made = small(seed, lesions=lesions)
    assert len(made.lesions) == lesions
    assert len(measure(made.mask, made.volume.spacing_mm, made.mask.astype(np.float32))) == lesions
    assert all(made.mask[lesion.centre] for lesion in made.lesions)


def test_large_lesions_cross_slices(heads):
    for made in heads:
        found = measure(made.mask, made.volume.spacing_mm, made.mask.astype(np.float32))
        largest = made.lesions[0]
        height = largest.diameter_mm / made.volume.spacing_mm[0]
        assert found[0].box.stop[0] - found[0].box.first[0] >= round(height * 0.6)


def test_a_mask_covers_the_tumour_and_its_oedema(heads):
    for made in heads:
        found = measure(made.mask, made.volume.spacing_mm, made.mask.astype(np.float32))
        for lesion in made.lesions:
            [around] = [
                one
                for one in found
                if all(a <= at < b for a, at, b in zip(one.box.first, lesion.centre, one.box.stop, strict=True))
            ]
            assert around.long_diameter_mm >= 0.8 * lesion.diameter_mm
            assert around.long_diameter_mm <= 1.3 * lesion.diameter_mm + 2 * lesion.oedema_mm + 2


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_bright_on_flair(seed):
    made = phantom.head(seed, slices=12, size_px=128, spacing_mm=(10.0, 1.8, 1.8), lesions=3)
    flair = made.volume.pixels[..., FLAIR].astype(float)
    lesion = flair[made.mask]
    # the surrounding brain: neither air, bone, fluid nor scalp, by the middle of the frame
    rows, columns = np.ogrid[-64:64, -64:64]
    inside = (np.hypot(rows, columns) < 30) & ~made.mask
    brain = flair[inside & (flair > np.percentile(flair[inside], 30))]
    assert np.median(lesion) > 1.25 * np.median(brain)
    assert np.mean(lesion > np.percentile(brain, 90)) > 0.75


def test_vessels_enhance_like_tumours_and_are_not_lesions(heads):
    for made in heads:
        gain = made.volume.pixels[..., POST].astype(float) - made.volume.pixels[..., PRE]
        tumour = np.percentile(gain[made.mask], 90)
        assert np.count_nonzero(gain[~made.mask] > tumour) > 100


def test_tissue_contrast_is_that_of_t1_and_flair():
    drawn = np.array([phantom.SIGNAL[tissue] for tissue in phantom.Tissue])
    fluid, grey, white = (drawn[tissue] for tissue in (phantom.Tissue.CSF, phantom.Tissue.GREY, phantom.Tissue.WHITE))
    assert (fluid < 0.5 * grey).all()
    assert white[PRE] > grey[PRE]
    assert grey[FLAIR] > white[FLAIR]


def test_heads_narrow_towards_the_vertex_in_dark_air(heads):
    for made in heads:
        brightness = made.volume.pixels.max(axis=3)
        size = (brightness > 40).sum(axis=(1, 2))
        assert (np.diff(size[14:]) < 0).all()
        assert size[-1] < 0.4 * size[12]
        assert np.median(brightness[:, :10, :10]) < 15


def test_scanners_differ_in_brightness(heads):
    bright = [np.percentile(made.volume.pixels[..., FLAIR], 95) for made in heads]
    assert max(bright) > 1.1 * min(bright)


def test_a_smaller_frame_contains_a_smaller_head():
    brightness = small(2).volume.pixels[4].max(axis=2)
    head = brightness > 40
    assert head.any(axis=1).sum() > 60
    assert not head[[0, -1]].any()
    assert not head[:, [0, -1]].any()


def test_sizes_are_those_of_metastases_and_only_large_ones_enhance_as_rings(heads):
    lesions = [lesion for made in heads for lesion in made.lesions]
    assert all(2 <= lesion.diameter_mm <= 30 for lesion in lesions)
    assert all(lesion.diameter_mm >= 9 for lesion in lesions if lesion.ring)
    for made in heads:
        assert list(made.lesions) == sorted(made.lesions, key=lambda lesion: -lesion.diameter_mm)


def test_rings_enhance_around_a_dark_core():
    made = phantom.head(1, lesions=3)
    ring = next(lesion for lesion in made.lesions if lesion.ring)
    index, row, column = ring.centre
    post = made.volume.pixels[index, ..., POST].astype(float)
    reach = round(ring.diameter_mm / 0.9 / 2) + 2
    around = post[row - reach : row + reach + 1, column - reach : column + reach + 1]
    assert post[row - 1 : row + 2, column - 1 : column + 2].mean() < 0.6 * np.percentile(around, 90)


def test_half_of_the_patients_have_one_lesion():
    counts = [len(phantom.head(seed, slices=6, size_px=48).lesions) for seed in range(60)]
    assert 0.3 < np.mean(np.array(counts) == 1) < 0.7
    assert 5 <= max(counts) <= 20
    assert min(counts) == 1


def test_lesions_shrink_in_a_small_brain_and_stay_separate():
    made = phantom.head(1, slices=3, size_px=48, lesions=20)
    assert len(measure(made.mask, None, made.mask.astype(np.float32))) == 20
    assert made.lesions[-1].diameter_mm == 2
    assert not any(lesion.ring for lesion in made.lesions if lesion.diameter_mm < 9)


@pytest.mark.parametrize("lesions", [-1, 21])
def test_a_number_of_lesions_out_of_range_is_refused(lesions):
    with pytest.raises(ValueError, match="0 to 20 lesions"):
        small(1, lesions=lesions)


def test_a_brain_without_room_for_lesions_is_an_error():
    with pytest.raises(ValueError, match="no room"):
        phantom.head(1, slices=1, size_px=16, lesions=20)


def test_a_whole_head_is_drawn_within_seconds():
    began = time.process_time()
    phantom.head(5)
    assert time.process_time() - began < 5

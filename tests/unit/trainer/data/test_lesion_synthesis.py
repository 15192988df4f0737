"""Brain masks and drawn metastases: what drawing may change and what it must not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from metseg import phantom
from metseg_trainer.data import (
    brain_mask,
    enhancing_mask,
    implant_lesions,
    lesion_free_run,
    spacing_or_assumed_mm,
    strip_skull,
)
from metseg_trainer.data.lesion_synthesis import DIAMETERS_MM
from metseg_trainer.data.skull_stripping import cerebral_slices

FULL = np.ones((3, 3, 3), bool)


@pytest.fixture(scope="module")
def head():
    return phantom.head(2, slices=16, size_px=160, lesions=1)


def test_the_brain_is_inside_the_head_and_contains_the_lesions(head):
    brain = brain_mask(head.volume)
    lit = head.volume.pixels.max(axis=-1) > 40
    filled = np.stack([ndimage.binary_fill_holes(one) for one in lit])
    assert not (brain & ~filled).any()
    assert 0.25 < brain[8].sum() / filled[8].sum() < 0.95
    assert (brain & head.mask).sum() > 0.8 * head.mask.sum()


def test_the_brain_is_found_in_either_order_of_slices(head):
    turned = replace(head.volume, pixels=head.volume.pixels[::-1].copy())
    assert np.array_equal(brain_mask(turned), brain_mask(head.volume)[::-1])


def test_skull_stripping_leaves_only_the_brain(head):
    brain = brain_mask(head.volume)
    stripped = strip_skull(head.volume, brain)
    assert np.array_equal(stripped.pixels[brain], head.volume.pixels[brain])
    assert not stripped.pixels[~brain].any()
    with pytest.raises(ValueError, match="in a study of"):
        strip_skull(head.volume, brain[:2])


@pytest.fixture(scope="module")
def with_face(head):
    """The head above a face: slices as large as the largest one, of soft tissue and bright fat."""
    largest = head.volume.pixels[int((head.volume.pixels.max(axis=-1) > 40).sum(axis=(1, 2)).argmax())]
    face = np.rint(largest * np.linspace(0.7, 1.0, largest.shape[1])[None, :, None]).astype(largest.dtype)
    pixels = np.concatenate([np.repeat(face[None], 6, axis=0), head.volume.pixels])
    names = tuple(f"slice-{index}" for index in range(len(pixels)))
    return replace(head.volume, pixels=pixels, names=names), np.concatenate([np.zeros_like(head.mask[:6]), head.mask])


def test_the_face_is_distinguished_from_the_vertex_in_either_order(with_face):
    volume, _ = with_face
    above = cerebral_slices(volume)
    assert not above[:6].any()
    assert above[8:].all()
    assert np.array_equal(cerebral_slices(replace(volume, pixels=volume.pixels[::-1].copy())), above[::-1])


def test_no_metastasis_is_drawn_into_a_face(with_face):
    volume, truth = with_face
    drawn = implant_lesions(volume, truth, seed=3, count=12)
    assert drawn.diameters_mm
    assert not drawn.labels[:6].any()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 8))
def test_drawn_lesions_stay_within_their_masks(head, seed, count):
    drawn = implant_lesions(head.volume, head.mask, seed, count)
    changed = (drawn.volume.pixels != head.volume.pixels).any(axis=-1)
    inside = drawn.labels > 0
    assert not (changed & ~inside).any()
    assert (inside & ~changed).sum() <= 0.05 * inside.sum()
    assert not (inside & ~brain_mask(head.volume)).any()
    assert not (inside & head.mask).any()
    near = ndimage.binary_dilation(head.mask.any(axis=(1, 2)))
    assert not inside[near].any()
    assert sorted(np.unique(drawn.labels)) == list(range(len(drawn.diameters_mm) + 1))
    assert ndimage.label(inside, FULL)[1] == len(drawn.diameters_mm) <= count
    assert all(DIAMETERS_MM[0] <= one <= DIAMETERS_MM[1] for one in drawn.diameters_mm)
    again = implant_lesions(head.volume, head.mask, seed, count)
    assert np.array_equal(again.volume.pixels, drawn.volume.pixels)


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_drawn_pixels_change(head, seed):
    drawn = implant_lesions(head.volume, head.mask, seed, 8)
    assert drawn.diameters_mm
    assert np.array_equal((drawn.volume.pixels != head.volume.pixels).any(axis=-1), drawn.labels > 0)


def test_different_seeds_draw_different_lesions(head):
    one, other = (implant_lesions(head.volume, head.mask, seed, 3) for seed in (1, 2))
    assert not np.array_equal(one.labels, other.labels)


def test_metastases_enhance_and_are_bright_on_flair(head):
    gains = []
    for seed in range(6):
        drawn = implant_lesions(head.volume, head.mask, seed, 5)
        where = drawn.labels > 0
        gain = drawn.volume.pixels[where].astype(float) - head.volume.pixels[where]
        core = gain[:, 2] > 20
        gains.append((gain[:, 1].mean(), gain[core, 2].mean() if core.any() else 0, gain[:, 0].mean()))
    flair, post, pre = np.mean(gains, axis=0)
    assert flair > 5
    assert post > 20
    assert pre < 0


def test_a_sequence_replaced_by_flair_stays_a_copy(head):
    pixels = head.volume.pixels.copy()
    pixels[..., 0] = pixels[..., 1]
    drawn = implant_lesions(replace(head.volume, pixels=pixels), head.mask, 4, 4)
    assert drawn.diameters_mm
    assert np.array_equal(drawn.volume.pixels[..., 0], drawn.volume.pixels[..., 1])


def test_nothing_is_drawn_without_room(head):
    drawn = implant_lesions(head.volume, np.ones(head.mask.shape, bool), 0, 5)
    assert drawn.diameters_mm == ()
    assert np.array_equal(drawn.volume.pixels, head.volume.pixels)


def test_the_longest_stretch_without_a_lesion_is_found():
    truth = np.zeros((12, 4, 4), bool)
    truth[3, 1, 1] = truth[10, 1, 1] = True
    assert lesion_free_run(truth) == slice(5, 9)
    assert lesion_free_run(np.zeros((3, 4, 4), bool)) == slice(0, 3)
    assert lesion_free_run(np.ones((3, 4, 4), bool)) == slice(0, 0)


def test_the_region_that_gains_most_after_contrast_enhances(head):
    brain = brain_mask(head.volume)
    found = enhancing_mask(head.volume, brain)
    gain = head.volume.pixels[..., 2].astype(float) - head.volume.pixels[..., 0]
    assert found.any()
    assert gain[found].min() > np.median(gain[brain])
    assert not enhancing_mask(head.volume, np.zeros_like(brain)).any()


def test_a_patient_may_have_a_single_metastasis(head):
    counts = {len(implant_lesions(head.volume, head.mask, seed).diameters_mm) for seed in range(12)}
    assert min(counts) == 1
    assert max(counts) > 3


def test_spacing_is_the_studys_or_assumed(head):
    assert spacing_or_assumed_mm(head.volume) == head.volume.spacing_mm
    assert spacing_or_assumed_mm(replace(head.volume, spacing_mm=None)) == (7.0, 0.9, 0.9)

"""Drawn metastases: their sizes, their look in slices, and the truth afterwards."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from tests.structures import stored_head

from metseg_trainer.data.structures import Canvas, SliceGeometry, draw_diameter_mm, draw_lesion, render_slice, store
from metseg_trainer.data.structures.donors import Donor, with_donor
from metseg_trainer.data.structures.lesion_model import Appearance

PLAIN = Appearance((1, 1, 1.6), (1, 1, 1), None, (1, 1.5, 1))


def lesion(diameter_mm: float, seed: int = 0):
    return draw_lesion(diameter_mm, np.random.default_rng(seed))


def canvas(present=(True, True, True)) -> Canvas:
    study = stored_head("lgg", present)
    drawn = Canvas.of(study.pixels[0], study.flags[0], 0.9)
    assert drawn is not None
    return drawn


def test_lesion_sizes_follow_those_of_patients():
    random = np.random.default_rng(0)
    volumes = np.pi / 6 * np.array([draw_diameter_mm(random) for _ in range(20_000)]) ** 3
    assert np.median(volumes) == pytest.approx(40, rel=0.1)
    assert (volumes < 27).mean() == pytest.approx(0.41, abs=0.03)
    assert (volumes > 275).mean() == pytest.approx(0.19, abs=0.03)


@pytest.mark.parametrize("thickness_mm", [1.0, 5.0])
def test_the_slices_of_a_lesion_add_up_to_its_volume(thickness_mm):
    smooth = replace(lesion(12.0), ruggedness=0.0)
    areas = [
        render_slice(smooth, SliceGeometry(off * thickness_mm, thickness_mm, 0.9)).core.sum() for off in range(-20, 21)
    ]
    assert sum(areas) * thickness_mm * 0.9**2 == pytest.approx(math.pi / 6 * 12**3, rel=0.05)


def test_a_thick_slice_shows_a_small_lesion_faintly():
    thin, thick = (render_slice(lesion(3.0), SliceGeometry(0, one, 0.9)).core.max() for one in (1.0, 6.0))
    assert thick < 0.7 * thin


def test_necrosis_lies_within_the_core():
    rendered = [render_slice(lesion(15.0, seed), SliceGeometry(1.0, 2.0, 0.9)) for seed in range(20)]
    assert any(one.necrosis.max() > 0.5 for one in rendered)
    assert all((one.necrosis <= one.core + 1e-5).all() for one in rendered)


@pytest.mark.parametrize(("variation", "gaps"), [(0.1, False), (0.9, True)])
def test_a_rim_of_much_varying_thickness_has_gaps(variation, gaps):
    ring = replace(lesion(30.0), rim_mm=3.0, rim_variation=variation)
    rendered = render_slice(ring, SliceGeometry(0.0, 1.0, 0.9))
    assert (rendered.necrosis <= rendered.core + 1e-5).all()
    inside = rendered.core > 0.5
    edge = inside & ~ndimage.binary_erosion(inside)
    assert (rendered.necrosis[edge] > 0.4).any() == gaps


def test_a_drawn_core_brightens_post_contrast_and_oedema_is_around_it_on_flair():
    drawn = canvas()
    before = drawn.pixels.copy()
    swollen = next(one for seed in range(50) if (one := lesion(10.0, seed)).oedema_mm and one.style == "solid")
    assert drawn.draw(render_slice(swollen, SliceGeometry(0.0, 3.0, 0.9)), PLAIN, (96, 88))
    assert (drawn.core > 0.5).any()
    change = drawn.pixels - before
    assert change[..., 2][drawn.core > 0.9].min() > 10
    assert (change[..., 1] > 10).sum() > (drawn.core > 0.5).sum()


def test_a_lesion_too_faint_to_be_seen_is_unknown():
    drawn = canvas()
    faint = Appearance((1, 1, 1.01), (1, 1, 1.01), None, (1, 1, 1.01))
    assert not drawn.draw(render_slice(lesion(8.0), SliceGeometry(0.0, 3.0, 0.9)), faint, (96, 88))
    assert drawn.core.max() == 0
    assert drawn.unknown.any()


def test_vessels_are_bright_after_contrast_and_not_labelled():
    drawn = canvas()
    before = drawn.pixels.copy()
    for seed in range(5):
        drawn.draw_vessel(np.random.default_rng(seed))
    assert (drawn.pixels - before)[..., 2].max() > 10
    assert np.array_equal(drawn.pixels[..., :2], before[..., :2])
    assert drawn.core.max() == 0
    assert not drawn.unknown.any()


def test_lesions_are_placed_in_brain_outside_the_existing_tumour():
    study = stored_head("lgg", (True, True, True))
    flags = study.flags[0].copy()
    flags[60:130, 88:150] |= store.WHOLE
    drawn = Canvas.of(study.pixels[0], flags, 0.9)
    places = [drawn.place((True, True, True), np.random.default_rng(seed)) for seed in range(50)]
    assert all(flags[place] & store.BRAIN and not flags[place] & store.WHOLE for place in places)


def test_a_donor_keeps_the_size_of_the_lesion():
    rendered = render_slice(lesion(12.0), SliceGeometry(0.0, 1.0, 0.9))
    donor = Donor(np.full((40, 40), 1.5, np.float32), np.ones((40, 40), np.float32), 45.0)
    filled = with_donor(rendered, donor, 1.0, 0.4, np.random.default_rng(0))
    assert filled.post is not None
    assert (filled.core > 0.5).sum() == pytest.approx((rendered.core > 0.5).sum(), rel=0.2)

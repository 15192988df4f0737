"""The model's uncertainty: several predictions of one study, by simple predictors."""

import numpy as np
import pytest

from metseg.contracts import OperatingPoint, Preprocessing
from metseg.imaging import Volume
from metseg.inference import estimate_uncertainty, segment

SIDE = 64
LEFT, RIGHT = (slice(20, 32), slice(18, 30)), (slice(30, 42), slice(36, 48))


class Bright:
    """Predicts lesions where FLAIR is bright, in the left `share` of columns."""

    max_concurrency = batch_size = 1

    def __init__(self, share: float = 1.0, above: float = 2.0, pixel_scale: float = 0.5) -> None:
        self.preprocessing = Preprocessing(pixel_scale=pixel_scale)
        self.operating_points = {"whole": OperatingPoint()}
        self.share, self.above, self.asked = share, above, 0

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        self.asked += len(tensor)
        found = 1 / (1 + np.exp(-20 * np.clip(tensor[..., 1] - self.above, -4, 4)))
        found[:, :, round(self.share * tensor.shape[2]) :] = 0
        return found.astype(np.float32)[None]


def study(*spots, slices=5):
    """A grey disc in air with bright spots in its two middle slices."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    pixels = np.zeros((slices, SIDE, SIDE), np.float32)
    pixels[:, (rows - 32) ** 2 + (columns - 32) ** 2 <= 28**2] = 60
    for spot in spots:
        pixels[2:4, *spot] = 250
    volume = np.repeat(pixels[..., None], 3, axis=-1)
    return Volume(volume, tuple(map(str, range(slices))), spacing_mm=(3, 1.8, 1.8))


@pytest.fixture
def plain(monkeypatch):
    """No CLAHE, which would brighten the dark parts of slices without a spot."""
    monkeypatch.setattr(
        "metseg.imaging.preprocess.equalise", lambda pixels, rescale, contract: np.stack(list(map(rescale, pixels)))
    )


def doubted(volume, *predictors):
    return estimate_uncertainty(volume, segment(volume, predictors[0]), predictors)


@pytest.mark.usefixtures("plain")
def test_agreement_of_all_views_is_certain():
    found = doubted(study(LEFT), Bright())
    [lesion] = found.lesions
    assert lesion.uncertainty == pytest.approx(0, abs=0.02)
    assert lesion.uncertainty_words.startswith("sure: found in all 2 views")
    assert found.uncertainty_words == "Compared 2 views: sure of the lesion."
    assert found.uncertainty.max() < 0.05


@pytest.mark.usefixtures("plain")
def test_a_lesion_of_one_view_is_uncertain_in_text_and_map():
    found = doubted(study(LEFT), Bright(share=0.5))
    [lesion] = found.lesions
    assert (lesion.uncertainty, lesion.uncertainty_words) == (1, "unsure: found in 1 of 2 views")
    assert found.uncertainty_words == "Compared 2 views: sure of 0 of 1 lesion, unsure of lesion 1."
    assert found.uncertainty[found.mask].min() > 0.9
    assert found.uncertainty.dtype == np.float32


@pytest.mark.usefixtures("plain")
def test_a_mirrored_view_is_mirrored_back():
    volume = study(LEFT, RIGHT)
    found = doubted(volume, Bright(share=0.55))
    sides = [round(lesion.centroid[2]) for lesion in found.lesions]
    assert sides == [24]  # the first view sees only the left one
    seen_mirrored = found.uncertainty.max(axis=0) > 0.9
    assert seen_mirrored[LEFT].mean() > 0.9 and seen_mirrored[RIGHT].mean() > 0.9
    assert seen_mirrored.sum() < 1.5 * 2 * 12 * 12


@pytest.mark.usefixtures("plain")
def test_only_slices_that_may_contain_a_lesion_are_predicted_again():
    predictor = Bright()
    volume = study(LEFT)
    first = segment(volume, predictor)
    assert predictor.asked == 5
    found = estimate_uncertainty(volume, first, [predictor])
    assert predictor.asked == 5 + 2
    assert not found.uncertainty[[0, 1, 4]].any()


@pytest.mark.usefixtures("plain")
def test_a_second_network_predicts_both_views_with_its_own_preprocessing():
    blind = Bright(share=0, pixel_scale=0.25)
    [lesion] = doubted(study(LEFT), Bright(), blind).lesions
    assert blind.asked == 4
    assert lesion.uncertainty_words == "unsure: found in 2 of 4 views"
    assert lesion.uncertainty == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.usefixtures("plain")
def test_disagreement_about_the_extent_is_reported():
    volume = study((slice(20, 44), slice(20, 44)))
    half = Bright(share=0.45)
    [lesion] = doubted(volume, Bright(), half).lesions
    assert lesion.uncertainty_words.startswith("found in all 4 views, unsure of its extent")
    assert 0.2 < lesion.uncertainty < 0.5


@pytest.mark.usefixtures("plain")
def test_neighbours_joined_in_another_view_are_compared_separately():
    gap = (slice(24, 34), slice(29, 33))
    volume = study((slice(24, 34), slice(18, 29)), (slice(24, 34), slice(33, 46)))
    joining = Bright()
    first = segment(volume, Bright())
    assert len(first.lesions) == 2
    view = first.mask.copy()
    view[2:4, *gap] = True
    joining.__class__ = type("Joining", (Bright,), {"__call__": lambda self, tensor: _filled(tensor)})
    for lesion in estimate_uncertainty(volume, first, [joining]).lesions:
        assert 0.05 < lesion.uncertainty < 0.4


def _filled(tensor: np.ndarray) -> np.ndarray:
    """All columns between the outermost bright ones."""
    bright = tensor[..., 1] > 2
    return ((bright.cumsum(axis=2) > 0) & (bright[:, :, ::-1].cumsum(axis=2)[:, :, ::-1] > 0)).astype(np.float32)


@pytest.mark.usefixtures("plain")
def test_without_a_lesion_uncertainty_is_not_computed_and_that_is_reported():
    predictor = Bright(above=50)
    volume = study(LEFT)
    first = segment(volume, predictor)
    asked = predictor.asked
    found = estimate_uncertainty(volume, first, [predictor])
    assert found.uncertainty_words == "Compared 2 views: no lesion was found."
    assert predictor.asked == asked
    assert not found.uncertainty.any()

"""What the page lists, without a page."""

import numpy as np
import pytest
from tests.models import tiny_card

from metseg import lesions
from metseg.contracts import DiceSummary, Result
from metseg_ui import comparison, figures

SHAPE = (4, 64, 48)
SPACING = (5.0, 1.0, 1.0)


def result(mask: np.ndarray, spacing: tuple[float, float, float] | None = SPACING) -> Result:
    probability = mask * np.float32(0.75)
    found = lesions.measure(mask, spacing, probability)
    names = [f"s{index}" for index in range(len(mask))]
    return Result(
        job_id="j",
        model_version="v",
        network="nested-unet",
        threshold=0.5,
        shape=mask.shape,
        spacing_mm=spacing,
        lesions=found,
        slices=lesions.slices(mask, found, names, spacing, probability),
        warnings=[],
        durations_s={},
    )


@pytest.fixture
def mask() -> np.ndarray:
    """A large lesion in slices 1 and 2, largest in 2, and one of two pixels in slice 3."""
    mask = np.zeros(SHAPE, bool)
    mask[1, 10:20, 10:20] = mask[2, 10:22, 10:20] = True
    mask[3, 40, 30:32] = True
    return mask


@pytest.fixture
def pixels() -> np.ndarray:
    """A slice whose channels are evenly 50, 100 and 150."""
    return np.broadcast_to(np.array([50, 100, 150], np.uint8), (*SHAPE[1:], 3)).copy()


def test_sizes_are_in_millimetres_where_the_spacing_is_known_and_in_pixels_where_not(mask):
    [large, small] = figures.lesion_rows(result(mask))
    assert large == {"No.": 1, "Slice": 3, "Size, mm": "15 × 12", "Vol., ml": pytest.approx(1.1), "Prob.": 75}
    assert small["Slice"] == 4
    [large, small] = figures.lesion_rows(result(mask, None))
    assert large["Voxels"] == 220 and small["Size, px"] == "2.0 × 1.0"
    assert not any("mm" in name or "ml" in name for name in large)


def test_the_headline_counts_sums_and_takes_the_longest(mask):
    assert figures.headline(result(mask)) == [("Lesions", "2"), ("Total volume", "1.1 ml"), ("Longest", "15 mm")]
    assert figures.headline(result(mask, None)) == [("Lesions", "2"), ("Total size", "222 px"), ("Longest", "15 px")]


def test_a_scan_without_lesions_has_a_headline_without_sizes(mask):
    assert [value for _, value in figures.headline(result(np.zeros_like(mask)))] == ["0", "–", "–"]


def test_a_grey_upload_offers_no_choice_of_sequence(pixels):
    assert figures.sequences(pixels) == ("Pre", "FLAIR", "Post")
    assert figures.sequences(np.repeat(pixels[..., :1], 3, axis=2)) == ("Image",)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [(SPACING, "4 slices of 48 × 64 px, 1 × 1 mm, 5 mm apart"), (None, "4 slices of 48 × 64 px, no spacing stored")],
)
def test_the_extent_tells_what_is_known(mask, spacing, words):
    assert figures.extent(result(mask, spacing)) == words


def test_the_network_that_serves_is_listed_before_a_better_one():
    dice = DiceSummary(patients=22, mean=0.8, median=0.85, std=0.1, lowest=0.4, highest=0.95)
    better = dice.model_copy(update={"mean": 0.9, "mean_single_slices": 0.7})
    card = tiny_card(b"m").model_copy(
        update={"network": "nested-unet", "figures": {"attention-unet": better, "nested-unet": dice}}
    )
    first, second = figures.model_rows(card)
    assert (first["Network"], first["Mean"], first["Slices alone"]) == ("Nested U-Net (U-Net++)", "0.800", "–")
    assert (second["Network"], second["Mean"], second["Slices alone"]) == ("Attention U-Net", "0.900", "0.700")
    assert first["Lowest to highest"] == "0.400 to 0.950"


def test_masks_agree_as_far_as_they_overlap_and_lesions_of_one_alone_are_named(mask):
    other = mask.copy()
    other[3] = False
    other[1, 50:54, 5:9] = True
    found, seen = result(mask).lesions, result(other).lesions
    agreed = comparison.agreement(mask, other, found, seen)
    assert agreed.dice == pytest.approx(2 * 220 / (222 + 236))
    assert (agreed.only_first, agreed.only_second) == ([2], [2])
    empty = np.zeros_like(mask)
    assert comparison.agreement(empty, empty, [], []) == (1.0, [], [])

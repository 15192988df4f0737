"""What the page lists, without a page."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.models import tiny_card

from metseg.contracts import DiceSummary, Familiarity, Result
from metseg.imaging import lesions
from metseg_ui.panels import comparison
from metseg_ui.text import summaries

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
        slices=lesions.measure_slices(mask, found, names, spacing, probability),
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
    [large, small] = summaries.lesion_rows(result(mask))
    assert large == {"No.": 1, "Slice": 3, "Size, mm": "15 × 12", "Vol., ml": pytest.approx(1.1), "Prob.": 75}
    assert small["Slice"] == 4
    [large, small] = summaries.lesion_rows(result(mask, None))
    assert large["Voxels"] == 220 and small["Size, px"] == "2.0 × 1.0"
    assert not any("mm" in name or "ml" in name for name in large)


def test_the_headline_counts_sums_and_takes_the_longest(mask):
    assert summaries.headline(result(mask)) == [("Lesions", "2"), ("Total volume", "1.1 ml"), ("Longest", "15 mm")]
    assert summaries.headline(result(mask, None)) == [("Lesions", "2"), ("Total size", "222 px"), ("Longest", "15 px")]


def test_a_scan_without_lesions_has_a_headline_without_sizes(mask):
    assert [value for _, value in summaries.headline(result(np.zeros_like(mask)))] == ["0", "–", "–"]


def test_a_grey_upload_offers_no_choice_of_sequence(pixels):
    assert summaries.sequences(pixels) == ("Pre", "FLAIR", "Post")
    assert summaries.sequences(np.repeat(pixels[..., :1], 3, axis=2)) == ("Image",)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [(SPACING, "4 slices of 48 × 64 px, 1 × 1 mm, 5 mm apart"), (None, "4 slices of 48 × 64 px, no spacing stored")],
)
def test_the_extent_tells_what_is_known(mask, spacing, words):
    assert summaries.extent(result(mask, spacing)) == words


def test_the_network_that_serves_is_listed_before_a_better_one():
    dice = DiceSummary(patients=22, mean=0.8, median=0.85, std=0.1, lowest=0.4, highest=0.95)
    better = dice.model_copy(update={"mean": 0.9, "mean_single_slices": 0.7})
    card = tiny_card(b"m").model_copy(
        update={"network": "nested-unet", "figures": {"attention-unet": better, "nested-unet": dice}}
    )
    first, second = summaries.model_rows(card)
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


def test_targets_are_summed_in_words_and_a_study_unlike_the_training_is_warned_of_first(mask):
    found = result(mask)
    found = found.model_copy(
        update={"lesions": [found.lesions[0].model_copy(update={"target": True}), found.lesions[1]]}
    )
    found = found.model_copy(
        update={"target_diameter_sum_px": 15.2, "target_diameter_sum_mm": 15.2, "warnings": ["A sequence is missing."]}
    )
    [remark] = summaries.remarks(found)
    assert remark == "Target lesions as of RANO-BM: lesion 1; sum of their longest diameters 15 mm."
    assert summaries.cautions(found) == ["A sequence is missing."]
    unlike = Familiarity(score=9, limit=4, unlike=True, words="This looks like no head.")
    cautions = summaries.cautions(found.model_copy(update={"familiarity": unlike}))
    assert cautions == ["This looks like no head.", "A sequence is missing."]
    assert summaries.remarks(result(np.zeros_like(mask))) == []


def test_how_unsure_a_lesion_is_stands_in_the_table_where_it_was_asked_for(mask):
    found = result(mask)
    assert "Unsure" not in summaries.lesion_rows(found)[0]
    asked = [lesion.model_copy(update={"uncertainty": 0.25}) for lesion in found.lesions]
    assert [row["Unsure"] for row in summaries.lesion_rows(found.model_copy(update={"lesions": asked}))] == [25, 25]


THEMES = tomllib.loads((Path(summaries.__file__).parents[1] / ".streamlit" / "config.toml").read_text())["theme"]


def luminance(colour: str) -> float:
    """Relative luminance as of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def faded(colour: str, ground: str, opacity: float) -> str:
    mixed = [
        round(opacity * int(colour[at : at + 2], 16) + (1 - opacity) * int(ground[at : at + 2], 16)) for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in mixed)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor"])
def test_words_and_controls_stand_out_as_wcag_aa_asks(theme, ground):
    colours = THEMES[theme]
    assert contrast(colours["textColor"], colours[ground]) >= 4.5
    assert contrast(faded(colours["textColor"], colours[ground], 0.85), colours[ground]) >= 4.5, "captions"
    assert contrast(colours["primaryColor"], colours[ground]) >= 3, "controls and focus"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_pressed_button_is_readable(theme):
    colours = THEMES[theme]
    assert contrast(colours["backgroundColor"], colours["textColor"]) >= 4.5

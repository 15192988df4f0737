"""What the page draws and lists, without a page."""

import numpy as np
import pytest
from tests.models import tiny_card

from metseg import lesions
from metseg.contracts import DiceSummary, Result
from metseg_ui import figures
from metseg_ui.figures import View

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


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 20


def test_without_marks_the_picture_is_the_chosen_sequence_and_nothing_else(pixels, mask):
    for channel, grey in enumerate((50, 100, 150)):
        assert (figures.picture(pixels, mask[2], [], (1, 1), View(channel, "Off")) == grey).all()


def test_an_outline_covers_no_pixel_of_the_lesion_and_lies_around_it(pixels, mask):
    picture = figures.picture(pixels, mask[2], [], (1, 1), View(marking="Outline"))
    scale = len(picture) // len(pixels)
    inside = np.kron(mask[2], np.ones((scale, scale), bool))
    assert (picture[inside] == 100).all()
    drawn = coloured(picture)
    assert drawn[10 * scale - 1, 15 * scale] and drawn[15 * scale, 20 * scale]
    assert not drawn[: 9 * scale].any()


def test_a_fill_lets_the_image_through_as_far_as_its_opacity_says(pixels, mask):
    lone = np.zeros_like(mask[2])
    lone[20:40, 20:40] = True
    faint, strong = (
        figures.picture(pixels, lone, [], (1, 1), View(marking="Fill", opacity=opacity)).astype(int)
        for opacity in (0.2, 0.9)
    )
    middle = (len(faint) // 2, faint.shape[1] * 30 // 48)
    assert abs(faint[middle] - 100).max() < abs(strong[middle] - 100).max()
    assert (faint[0, 0] == 100).all() and (strong[0, 0] == 100).all()


def test_pixels_that_are_not_square_are_shown_in_their_true_shape(pixels, mask):
    picture = figures.picture(pixels, mask[2], [], (2.0, 1.0), View())
    rows, columns, _ = picture.shape
    assert rows / columns == pytest.approx(2 * 64 / 48, rel=0.01)
    assert columns >= 48


def test_every_lesion_of_the_slice_gets_its_number_beside_it(pixels, mask):
    found = result(mask)
    plain = figures.picture(pixels, mask[3], [], (1, 1), View(marking="Fill"))
    numbered = figures.picture(pixels, mask[3], figures.lesions_of(found, 3), (1, 1), View(marking="Fill"))
    rows, columns = np.nonzero((plain != numbered).any(axis=2))
    scale = len(plain) / 64
    assert 35 * scale < rows.mean() < 42 * scale
    assert columns.min() >= 31 * scale


def test_a_lesion_that_another_threshold_hides_gets_no_number(pixels, mask):
    listed = figures.lesions_of(result(mask), 3)
    nothing = np.zeros_like(mask[3])
    assert (figures.picture(pixels, nothing, listed, (1, 1), View()) == 100).all()


def test_a_note_is_written_into_the_picture(pixels, mask):
    empty = np.zeros_like(mask[0])
    noted = figures.picture(pixels, empty, [], (1, 1), View(note="Preview"))
    assert (noted[:60] != 100).any() and (noted[60:] == 100).all()


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


def test_the_way_to_the_next_lesion_skips_slices_without_one():
    mask = np.zeros((6, 20, 20), bool)
    mask[1, 5, 5] = mask[4, 5, 5] = True
    found = result(mask)
    assert [figures.neighbour(found, index, 1) for index in (0, 1, 4)] == [1, 4, None]
    assert [figures.neighbour(found, index, -1) for index in (5, 4, 1)] == [4, 1, None]


def test_the_profile_shows_every_slice_once_and_marks_the_shown_one(mask):
    profile = figures.profile(result(mask), 2)
    bars = profile.split("<i")[1:]
    assert len(bars) == 4 and [" class=here" in bar for bar in bars] == [False, False, True, False]
    assert "height:0%" in bars[0] and "height:83%" in bars[1] and "height:100%" in bars[2]
    assert 'aria-label="Lesion area by slice: 3 of 4 slices show lesions; here is slice 3."' in profile


def test_the_picture_is_told_in_words(mask):
    found = result(mask)
    assert figures.description(found, 2, "FLAIR", 120) == "Slice 3 of 4, FLAIR. Marked: lesion 1, 120 px."
    assert figures.description(found, 0, "FLAIR", 0) == "Slice 1 of 4, FLAIR. No lesion is marked here."
    assert figures.description(found, 0, "FLAIR", 7) == "Slice 1 of 4, FLAIR. Marked: an area, 7 px."


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

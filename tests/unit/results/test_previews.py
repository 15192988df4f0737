"""Previews of a running job: the right slice, the right outlines, at most once per second."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.unit.inference.test_segmentation import Bright

from metseg import phantom
from metseg.contracts import OperatingPoint
from metseg.imaging import Volume
from metseg.imaging.rendering import LESION_RGB
from metseg.inference import segment
from metseg.results.previews import EMPTY_TILE, GAP_PX, HEIGHT_PX, INTERVAL_S, SHEET_PX, Previews


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return phantom.head(3, slices=4, size_px=96, lesions=2)


def pixels_of(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def coloured(pixels: np.ndarray) -> np.ndarray:
    return np.abs(pixels - LESION_RGB).max(axis=2) < 20


def previewed(volume, threshold=0.5):
    """A preview after each slice, and the result."""
    ticks = iter(np.arange(0, 1000, INTERVAL_S))
    kept: list[bytes] = []
    previews = Previews(
        volume, "whole", OperatingPoint(threshold=threshold), lambda draw: kept.append(draw()), lambda: next(ticks)
    )
    found = segment(volume, Bright(), threshold, on_slice=lambda index, maps: previews(index, maps["whole"]))
    return [pixels_of(picture) for picture in kept], np.asarray(found.probability) >= threshold


def test_each_preview_outlines_the_results_lesions_in_that_slice(head):
    seen, found = previewed(head.volume)
    assert len(seen) == len(found)
    for pixels, marked in zip(seen, found, strict=True):
        scale = HEIGHT_PX // marked.shape[0]
        large = np.kron(marked, np.ones((scale, scale), bool))
        line = coloured(pixels[:, :HEIGHT_PX])
        assert line.shape == large.shape
        assert not (line & large).any(), "an outline covers no lesion"
        grown = cv2.dilate(large.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))) > 0
        np.testing.assert_array_equal(line, grown & ~large)


def test_only_what_reaches_the_seed_threshold_is_outlined(head):
    """As in the result, where what is only probable enough to be part of a lesion is none of its own."""
    kept: list[bytes] = []
    seconds = iter([0.0, *[INTERVAL_S] * 9])
    point = OperatingPoint(threshold=0.5, seed_threshold=0.9)
    previews = Previews(head.volume, "core", point, lambda draw: kept.append(draw()), lambda: next(seconds))
    probability = np.zeros(head.volume.shape[1:], np.float32)
    probability[30:40, 20:30], probability[30:40, 60:70], probability[35, 65] = 0.8, 0.8, 0.95
    previews(0, probability)
    [picture] = kept
    line, scale = coloured(pixels_of(picture)[:, :HEIGHT_PX]), HEIGHT_PX // head.volume.shape[1]
    assert not line[:, : 45 * scale].any() and line[:, 45 * scale :].any()
    [tile, *_] = tiles(pixels_of(picture), 240, 2, 4)
    assert not coloured(tile)[:, :110].any() and coloured(tile)[:, 110:].any()


def tiles(pixels: np.ndarray, pitch: int, across: int, count: int) -> list[np.ndarray]:
    """The small slices on the right, without their gaps."""
    sheet = pixels[:, HEIGHT_PX:]
    corners = [(row * pitch, column * pitch) for row in range(-(-count // across)) for column in range(across)]
    return [sheet[top + GAP_PX : top + pitch, left + GAP_PX : left + pitch] for top, left in corners[:count]]


def test_finished_slices_stay_visible_in_later_previews(head):
    seen, found = previewed(head.volume)
    for done, pixels in enumerate(seen, start=1):
        for index, tile in enumerate(tiles(pixels, 240, 2, 4)):
            assert (tile == EMPTY_TILE).all() == (index >= done)
            assert coloured(tile).any() == (index < done and found[index].any())


def test_a_long_study_is_shown_by_some_of_its_slices():
    volume = phantom.head(3, slices=100, size_px=32, lesions=2).volume
    seen, _ = previewed(volume)
    assert {pixels.shape for pixels in seen} == {(HEIGHT_PX, HEIGHT_PX + SHEET_PX, 3)}
    full = [not (tile == EMPTY_TILE).all() for tile in tiles(seen[-1], 91, 7, 34)]
    assert all(full)
    assert sum(not (tile == EMPTY_TILE).all() for tile in tiles(seen[9], 91, 7, 34)) == 4


@pytest.mark.parametrize("slices", [1, 2, 5, 12, 24, 47, 48, 49, 155, 1024])
def test_every_number_of_slices_fits_the_sheet(slices):
    volume = Volume(
        np.arange(slices * 256 * 3).reshape(slices, 16, 16, 3).astype(np.float32), tuple(map(str, range(slices)))
    )
    kept: list[bytes] = []
    seconds = iter([0.0] * slices + [INTERVAL_S] * 2)
    previews = Previews(volume, "whole", OperatingPoint(), lambda draw: kept.append(draw()), lambda: next(seconds))
    for index in range(slices):
        previews(index, np.zeros((16, 16), np.float32))
    [picture] = kept
    assert pixels_of(picture).shape == (HEIGHT_PX, HEIGHT_PX + SHEET_PX, 3)


def test_a_quick_job_has_no_preview(head):
    asked: list[int] = []
    previews = Previews(
        head.volume, "whole", OperatingPoint(), lambda draw: asked.append(len(draw())), clock=lambda: 0.0
    )
    segment(head.volume, Bright(), on_slice=lambda index, maps: previews(index, maps["whole"]))
    assert asked == []


def test_previews_that_nobody_wanted_are_in_the_next_one(head):
    draws = []
    seconds = iter(np.arange(0, 1000, INTERVAL_S))
    previews = Previews(head.volume, "whole", OperatingPoint(), draws.append, lambda: next(seconds))
    for index in range(len(head.volume.pixels)):
        previews(index, np.zeros(head.volume.shape[1:], np.float32))
    assert not any((tile == EMPTY_TILE).all() for tile in tiles(pixels_of(draws[-1]()), 240, 2, 4))


def test_previews_are_a_second_apart(head):
    now = 0.0
    kept: list[bytes] = []
    previews = Previews(head.volume, "whole", OperatingPoint(), lambda draw: kept.append(draw()), clock=lambda: now)
    blank = np.zeros(head.volume.shape[1:], np.float32)
    for index in (0, 1, 2, 3, 0, 1, 2, 3):
        now += INTERVAL_S / 4
        previews(index, blank)
    assert len(kept) == 2

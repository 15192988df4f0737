"""What is seen of a job before its end: the right slice, the right marks, and no more often than once a second."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.unit.test_segment import Bright

from metseg import phantom
from metseg.glimpses import EVERY_S, Glimpses
from metseg.segment import segment


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return phantom.head(3, slices=4, size_px=96, lesions=2)


def coloured(picture: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    return np.ptp(pixels, axis=2) > 20


def test_each_glimpse_outlines_what_the_result_will_mark_in_that_slice(head):
    ticks = iter(np.arange(0, 100, EVERY_S))
    kept: list[bytes] = []
    glimpses = Glimpses(head.volume, 0.5, kept.append, clock=lambda: next(ticks))
    found = segment(head.volume, Bright(), 0.5, seen=glimpses)
    assert len(kept) == len(head.volume.pixels)
    for picture, marked in zip(kept, np.asarray(found.probability) >= 0.5, strict=True):
        line = coloured(picture)
        assert line.shape == marked.shape
        assert not (line & marked).any(), "an outline covers no lesion"
        grown = marked.copy()
        grown[1:] |= marked[:-1]
        grown[:-1] |= marked[1:]
        grown[:, 1:] |= marked[:, :-1]
        grown[:, :-1] |= marked[:, 1:]
        np.testing.assert_array_equal(line, grown & ~marked)


def test_a_quick_job_draws_nothing(head):
    asked: list[int] = []
    glimpses = Glimpses(head.volume, 0.5, lambda picture: asked.append(len(picture)), clock=lambda: 0.0)
    segment(head.volume, Bright(), seen=glimpses)
    assert asked == []


def test_glimpses_are_a_second_apart(head):
    now = 0.0
    kept: list[bytes] = []
    glimpses = Glimpses(head.volume, 0.5, kept.append, clock=lambda: now)
    blank = np.zeros(head.volume.shape[1:], np.float32)
    for index in (0, 1, 2, 3, 0, 1, 2, 3):
        now += EVERY_S / 4
        glimpses(index, blank)
    assert len(kept) == 2

"""The starter model's reference on public and drawn images of other objects than brains."""

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.models import STARTER

from metseg.contracts import ModelCard
from metseg.imaging import Preprocessor, Volume
from metseg.inference.out_of_distribution import (
    FEATURES,
    FLIPPED_ORDER,
    detect_out_of_distribution,
    extract_features,
)

HEAD_CT = "J2K_pixelrep_mismatch"
PUBLIC = {
    "CT_small": "a spine on CT",
    "693_J2KI": "a head on CT",
    HEAD_CT: "the base of a head on CT",
    "MR_small": "a vessel on MR",
    "examples_overlay": "an abdomen on MR",
    "JPEG2000": "a bone scan",
    "examples_jpeg2k": "an ultrasound",
    "examples_rgb_color": "an ultrasound in colours",
}


@pytest.fixture(scope="module")
def card():
    return ModelCard.model_validate_json((STARTER / "card.json").read_bytes())


def asked(pixels: np.ndarray, card: ModelCard):
    """The verdict on grey slices, (slice, row, column)."""
    grey = np.repeat(pixels.astype(np.float32)[..., None], 3, axis=-1)
    volume = Volume(grey, tuple(map(str, range(len(grey)))))
    return detect_out_of_distribution(
        Preprocessor(card.preprocessing).prepare(volume),
        volume.present,
        card.familiarity,
        card.preprocessing.pixel_scale,
    )


def public(name: str) -> np.ndarray:
    """The image in one of pydicom's test files, (row, column)."""
    pixels = pydicom.dcmread(get_testdata_file(f"{name}.dcm", download=False)).pixel_array.astype(np.float32)
    while pixels.ndim > 2:
        pixels = pixels.mean(axis=-1) if pixels.shape[-1] == 3 else pixels[len(pixels) // 2]
    return pixels


def as_study(picture: np.ndarray, slices: int = 12) -> np.ndarray:
    """Slices that differ slightly, like neighbours."""
    random, (rows, columns) = np.random.default_rng(0), picture.shape
    moves = [
        cv2.getRotationMatrix2D((columns / 2, rows / 2), random.uniform(-3, 3), random.uniform(0.9, 1))
        for _ in range(slices)
    ]
    return np.stack([cv2.warpAffine(picture, move, (columns, rows)) for move in moves])


def drawn(*ellipses: tuple[float, float, float, float, float]) -> np.ndarray:
    """Overlapping ellipses: centre row and column, half height and width, brightness."""
    rows, columns = np.mgrid[:256, :256]
    picture = np.zeros((256, 256), np.float32)
    for row, column, high, wide, level in ellipses:
        picture[((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 <= 1] = level
    noise = np.random.default_rng(1).normal(0, 4, picture.shape).astype(np.float32)
    return picture + noise * (picture > 0)


KNEE = ((128, 128, 95, 90, 120), (110, 95, 40, 38, 230), (110, 160, 40, 36, 225), (45, 128, 18, 35, 240))
ABDOMEN = ((128, 128, 80, 120, 200), (128, 128, 70, 110, 70), (110, 70, 45, 50, 130), (170, 128, 18, 18, 180))


@pytest.mark.parametrize("name", PUBLIC)
def test_studies_of_other_objects_are_flagged(card, name):
    assert asked(as_study(public(name)), card).unlike, PUBLIC[name]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != HEAD_CT])
def test_single_slices_of_other_objects_are_flagged(card, name):
    assert asked(public(name)[None], card).unlike, PUBLIC[name]


@pytest.mark.parametrize("ellipses", [KNEE, ABDOMEN], ids=["knee", "abdomen"])
def test_drawn_knees_and_abdomens_are_flagged(card, ellipses):
    picture = drawn(*ellipses)
    assert asked(as_study(picture), card).unlike
    assert asked(picture[None], card).unlike


def test_noise_is_flagged(card):
    noise = np.random.default_rng(1).normal(100, 20, (12, 128, 128))
    assert asked(noise, card).unlike
    assert asked(noise[:1], card).unlike


def test_a_slice_without_a_head_is_described_whole(card):
    flat = np.zeros((1, 64, 64), np.float32)
    flat[0, 0, 0] = 1
    assert asked(flat, card).unlike


def test_mirroring_permutes_the_features(card):
    picture = drawn(*ABDOMEN)[None, 16:240]

    def described(pixels):
        grey = np.repeat(pixels.astype(np.float32)[..., None], 3, axis=-1)
        return extract_features(
            Preprocessor(card.preprocessing).prepare(Volume(grey, ("a",))), "flair", card.preprocessing.pixel_scale
        )

    assert described(picture[:, ::-1].copy()) == pytest.approx(described(picture)[FLIPPED_ORDER], abs=0.06)
    assert len(FEATURES) == len(described(picture))


def test_the_card_reports_how_its_reference_was_fitted(card):
    known = card.familiarity.sequences["flair"]
    assert known.studies.features == known.lone_slices.features == list(FEATURES)
    assert known.studies.judged == 10 * 7
    assert known.studies.learned == 10 * 63
    assert max(known.studies.false_alarms, known.lone_slices.false_alarms) < 0.05

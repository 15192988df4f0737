"""Which sequence a grey image is: what is recognised, refused and doubted."""

from dataclasses import replace

import numpy as np
import pytest

from metseg import phantom
from metseg.contracts import IdentifiedSequence
from metseg.errors import UnknownSequence
from metseg.imaging import ROLES, Volume
from metseg.inference import (
    SEQUENCE_CLASSES,
    SequenceModel,
    extract_head,
    identify_sequence,
    recognise_sequence,
)


@pytest.fixture(scope="module")
def head() -> Volume:
    return phantom.head(3, slices=12, size_px=256).volume


def grey(pixels: np.ndarray) -> Volume:
    """A study of one grey image, (slice, row, column), of which nothing is known."""
    stacked = np.repeat(pixels[..., np.newaxis], 3, axis=-1)
    return Volume(stacked, tuple(map(str, range(len(pixels)))), present=(False, True, False))


def test_the_head_is_scaled_to_one_size_and_framed(head):
    for grey in (head.pixels[6, ..., 1], head.pixels[6, ::3, ::2, 1], np.pad(head.pixels[6, ..., 1], 90)):
        seen = extract_head(grey)
        assert seen.shape == SequenceModel.INPUT_PX and abs(np.median(seen[30:-30, 30:-30])) < 1
        assert (seen > seen.min()).any(axis=1).sum() == 128 or (seen > seen.min()).any(axis=0).sum() == 128


def test_the_head_does_not_depend_on_the_scale_of_brightness(head):
    one = head.pixels[6, ..., 1].astype(np.float32)
    assert np.allclose(extract_head(300 * one - 70), extract_head(one), atol=0.01)


def test_a_mirrored_or_turned_head_is_recognised_as_well(head):
    flair = head.pixels[..., 1]
    for turned in (flair[:, :, ::-1], flair[:, ::-1], np.rot90(flair, axes=(1, 2))):
        assert recognise_sequence(turned).role == "flair"


@pytest.mark.parametrize("pixels", [np.zeros((64, 64)), np.full((64, 64), 7.5), np.eye(64)], ids=["0", "7.5", "line"])
def test_a_picture_without_a_head_has_no_head_and_is_something_else(pixels):
    assert extract_head(pixels) is None
    assert recognise_sequence(pixels[np.newaxis]).likeliest == "other"


@pytest.mark.parametrize("role", ROLES)
def test_the_sequence_of_a_study_is_recognised_and_said(head, role):
    volume = identify_sequence(grey(head.pixels[..., ROLES.index(role)]))
    assert list(volume.identified) == [role] and volume.identified[role].by == "recognised"
    assert volume.present == tuple(each == role for each in ROLES)
    assert any("recognised as" in warning and "submit it again" in warning for warning in volume.warnings)


def test_a_mask_is_refused_as_such(head):
    with pytest.raises(UnknownSequence, match=r"looks like a mask: it has only 2 different values.*`sequence`"):
        identify_sequence(grey((head.pixels[..., 1] > 90).astype(np.uint8) * 255))


def test_what_is_not_recognised_is_refused_with_what_to_do():
    noise = np.random.default_rng(0).integers(0, 255, (1, 96, 96)).astype(np.uint8)
    with pytest.raises(UnknownSequence, match="`pre`, `flair` or `post`"):
        identify_sequence(grey(noise))


def test_a_negative_is_not_taken_for_a_sequence(head):
    for channel in range(3):
        assert recognise_sequence(255 - head.pixels[..., channel]).role is None


def test_an_image_that_looks_like_another_sequence_is_kept_and_doubted(head):
    flair = grey(head.pixels[..., 1])
    said = replace(flair, identified={"post": IdentifiedSequence(by="name")}, present=(False, False, True))
    volume = identify_sequence(said)
    assert volume.identified == said.identified and volume.present == said.present
    assert any("post-contrast image looks like a FLAIR" in warning for warning in volume.warnings)
    agreed = replace(flair, identified={"flair": IdentifiedSequence(by="stated")})
    assert identify_sequence(agreed).warnings == agreed.warnings


@pytest.mark.parametrize(("seed", "lesions"), [(47, 1), (60, 9), (31, 0)])
def test_the_examples_of_the_page_are_not_doubted(seed, lesions):
    scan = phantom.head(seed, slices=16, lesions=lesions).volume
    named = replace(scan, identified=dict.fromkeys(ROLES, IdentifiedSequence(by="name")))
    assert identify_sequence(named).warnings == scan.warnings


def test_the_colours_of_a_picture_are_not_doubted(head):
    by_place = dict.fromkeys(ROLES, IdentifiedSequence(by="place"))
    swapped = replace(head, pixels=head.pixels[..., ::-1], identified=by_place)
    assert identify_sequence(swapped).warnings == ()


def test_the_card_of_the_bundled_model_names_its_data_and_licences():
    card = SequenceModel.bundled().card
    assert card.classes == SEQUENCE_CLASSES and any("CC BY-NC-SA" in source for source in card.data)


def test_probabilities_add_up_to_one(head):
    found = recognise_sequence(head.pixels[..., 0])
    assert set(found.probabilities) == set(SEQUENCE_CLASSES)
    assert sum(found.probabilities.values()) == pytest.approx(1)

"""Sequences that were taken for one another, after the study has been read."""

import io
import itertools
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from metseg import formats
from metseg.errors import InvalidParameter
from metseg.imaging import MISSING_SEQUENCE, ROLES
from metseg.settings import Limits

LEVELS = {"pre": 40, "flair": 90, "post": 160}


def read(roles, named=None):
    """A study of NIfTI volumes of these roles, each of noise about its level, named as if they were `named`."""
    files = []
    for role, name in zip(roles, named or roles, strict=True):
        noise = np.random.default_rng(LEVELS[role]).integers(0, 9, (24, 20, 6))
        image = nibabel.Nifti1Image((noise + LEVELS[role]).astype(np.uint8), np.diag((1, 1, 4, 1)))
        files.append(formats.Upload(f"{name}.nii", io.BytesIO(image.to_bytes())))
    return formats.read_volume(files, Limits())


def levels(volume):
    return {role: int(volume.pixels[..., channel].min()) for channel, role in enumerate(ROLES)}


@pytest.mark.parametrize("named", list(itertools.permutations(ROLES)))
def test_any_confusion_of_three_sequences_is_put_right(named):
    wrong = read(ROLES, named)
    right = formats.exchange_sequences(wrong, dict(zip(named, ROLES, strict=True)))
    assert levels(right) == LEVELS
    changed = {role for role, name in zip(ROLES, named, strict=True) if role != name}
    assert {role for role, text in right.sequences.items() if "at first" in text} == changed
    assert {role for role, each in right.identified.items() if each.by == "stated"} == changed


def test_a_missing_sequence_is_another_one_afterwards():
    wrong = read(["flair", "post"], ["flair", "pre"])
    assert not wrong.present[2]
    right = formats.exchange_sequences(wrong, {"pre": "post"})
    assert levels(right) == {"pre": LEVELS["flair"], "flair": LEVELS["flair"], "post": LEVELS["post"]}
    assert right.present == (False, True, True) and right.sequences["pre"] == MISSING_SEQUENCE
    assert set(right.warnings) == set(read(["flair", "post"]).warnings)


def test_without_a_change_the_study_stays_as_it_is():
    volume = read(ROLES)
    assert formats.exchange_sequences(volume, {}) is volume


def test_two_images_cannot_become_the_same_sequence():
    with pytest.raises(InvalidParameter, match="same sequence"):
        formats.exchange_sequences(read(ROLES), {"flair": "post"})
    with pytest.raises(InvalidParameter, match="names none"):
        formats.exchange_sequences(replace(read(ROLES), identified={}), {"flair": "post"})

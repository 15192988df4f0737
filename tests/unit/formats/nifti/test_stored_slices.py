"""Masks and maps are read slice by slice, and damage is found wherever it is."""

import io

import numpy as np
import pytest

from metseg.errors import ProcessingFailed
from metseg.formats import StoredSlices, write_mask, write_probability

MASK = np.random.default_rng(0).random((5, 20, 24)) > 0.5


def stored(data: bytes) -> StoredSlices:
    return StoredSlices(io.BytesIO(data))


def test_slices_come_one_by_one_as_they_are_stored():
    slices = stored(write_mask(MASK, (), "nifti"))
    assert (slices.shape, slices.dtype) == (MASK.shape, np.uint8)
    np.testing.assert_array_equal(np.stack(list(slices)), MASK)
    levels = stored(write_probability(MASK.astype(np.float32), "nifti"))
    np.testing.assert_array_equal(np.stack(list(levels)), MASK * 65535)


def test_some_slices_can_be_read_alone():
    slices = stored(write_mask(MASK, (), "nifti"))
    for index in (1, 4):
        np.testing.assert_array_equal(slices.read(index), MASK[index])
    with pytest.raises(ProcessingFailed):
        slices.read(5)


def test_damage_after_the_last_slice_is_found():
    data = bytearray(write_mask(MASK, (), "nifti"))
    data[-6] ^= 1  # of the checksum
    with pytest.raises(ProcessingFailed):
        list(stored(bytes(data)))

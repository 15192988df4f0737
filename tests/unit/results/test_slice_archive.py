"""Images in one object are found by index, and damage is detected."""

import io

import pytest
from tests.slice_archives import archived

from metseg.errors import NotFound, ProcessingFailed
from metseg.results import SliceArchive

PICTURES = [bytes([index]) * (1000 + index) for index in range(12)]


def test_each_image_is_found_by_its_index():
    archive = SliceArchive(io.BytesIO(archived(PICTURES)))
    assert [archive.read_slice(index) for index in reversed(range(12))] == PICTURES[::-1]


def test_equal_images_give_equal_archives():
    assert archived(iter(PICTURES)) == archived(PICTURES)


@pytest.mark.parametrize("index", [12, 10_000, -1])
def test_a_missing_slice_is_not_found(index):
    with pytest.raises(NotFound, match=f"no slice {index}"):
        SliceArchive(io.BytesIO(archived(PICTURES))).read_slice(index)


@pytest.mark.parametrize("content", [b"", b"junk", archived(PICTURES)[:-30]], ids=["empty", "junk", "cut off"])
def test_a_damaged_archive_is_reported(content):
    with pytest.raises(ProcessingFailed, match="submit the study again"):
        SliceArchive(io.BytesIO(content))


def test_a_damaged_image_in_an_archive_is_reported():
    content = bytearray(archived(PICTURES))
    content[100] ^= 1
    archive = SliceArchive(io.BytesIO(bytes(content)))
    assert archive.read_slice(1) == PICTURES[1]
    with pytest.raises(ProcessingFailed, match="submit the study again"):
        archive.read_slice(0)

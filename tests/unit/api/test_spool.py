"""Files that are made on disk: whole or refused, and gone afterwards."""

import errno

import pytest

from metseg.errors import ProcessingFailed, StorageFull
from metseg.settings import Settings
from metseg_api import spool


def test_a_made_file_is_read_from_its_start_in_chunks():
    content = bytes(range(256)) * 10_000  # more than is kept in memory
    made = spool.make(lambda _, target: target.write(content), None)
    with made.chunks() as chunks:
        parts = list(chunks)
    assert (b"".join(parts), made.size, max(map(len, parts))) == (content, len(content), spool.CHUNK_BYTES)
    assert made.content.closed


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
        (OSError(errno.EIO, "Input/output error"), OSError),
        (ProcessingFailed("A stored result is damaged."), ProcessingFailed),
    ],
    ids=["full", "broken", "damaged"],
)
def test_a_file_that_cannot_be_made_leaves_nothing(failure, problem):
    kept = []

    def write(_, target):
        kept.append(target)
        raise failure

    with pytest.raises(problem):
        spool.make(write, None)
    assert kept[0].closed


def test_a_large_conversion_leaves_the_reserve_of_the_disk():
    settings = Settings(disk_reserve_bytes=2**60)
    spool.check_free_disk(settings, 256 * 256 * 24)
    with pytest.raises(StorageFull):
        spool.check_free_disk(settings, 1024 * 512 * 512)

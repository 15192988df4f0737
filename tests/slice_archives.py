"""Slice archives in memory."""

import io
from collections.abc import Iterable

from metseg.results import write_slice_archive


def archived(pngs: Iterable[bytes]) -> bytes:
    """An archive of these slices."""
    target = io.BytesIO()
    write_slice_archive(pngs, target)
    return target.getvalue()

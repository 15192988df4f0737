"""Slices with the contours of their lesions, in the size of the upload."""

from collections.abc import Iterator
from typing import BinaryIO

from metseg.formats import StoredSlices, write_zip
from metseg.imaging import draw_contours
from metseg.results.exports.contours import outlined_channel
from metseg.results.exports.finished_job import FinishedJob

SUFFIX = "_overlay"


def render_overlay(job: FinishedJob, target: BinaryIO, index: int) -> None:
    """Write one slice with the contours of its lesions, as a PNG.

    Args:
        job: a finished job.
        target: where the PNG is written.
        index: of the slice; the first is 0.

    Raises:
        NotFound: there is no such slice.
    """
    slice_png, channel = job.slice_png(index), outlined_channel(job.result().structure)
    with job.open_artefact("mask.nii.gz") as stored:
        target.write(draw_contours(slice_png, StoredSlices(stored).read(index) > 0, channel))


def write_overlays(job: FinishedJob, target: BinaryIO) -> None:
    """Write all slices with contours, as a ZIP of `<stem>_overlay.png` under the uploaded names.

    Args:
        job: a finished job.
        target: where the ZIP is written.
    """
    with job.open_artefact("mask.nii.gz") as stored:
        write_zip(_overlays(job, StoredSlices(stored)), target)


def _overlays(job: FinishedJob, mask: StoredSlices) -> Iterator[tuple[str, bytes]]:
    result = job.result()
    channel = outlined_channel(result.structure)
    for each, marked in zip(result.slices, mask, strict=True):
        yield f"{each.name}{SUFFIX}.png", draw_contours(job.slice_png(each.index), marked > 0, channel)

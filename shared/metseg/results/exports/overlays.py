"""Slices with the contours of their lesions, in the size of the upload."""

from metseg.formats import read_mask, write_zip
from metseg.imaging import draw_contours
from metseg.results.exports.finished_job import FinishedJob

SUFFIX = "_overlay"


def render_overlay(job: FinishedJob, index: int) -> bytes:
    """One slice of FLAIR with the contours of its lesions.

    Args:
        job: a finished job.
        index: of the slice; the first is 0.

    Returns:
        A PNG.

    Raises:
        NotFound: there is no such slice.
    """
    slice_png = job.slice_png(index)
    return draw_contours(slice_png, read_mask(job.artefact("mask.nii.gz"))[index])


def overlays_zip(job: FinishedJob) -> bytes:
    """All slices with contours, as a ZIP of `<stem>_overlay.png` under the uploaded names."""
    mask = read_mask(job.artefact("mask.nii.gz"))
    return write_zip(
        (f"{each.name}{SUFFIX}.png", draw_contours(job.slice_png(each.index), mask[each.index]))
        for each in job.result().slices
    )

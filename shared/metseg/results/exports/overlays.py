"""The slices with their lesions outlined, as the pictures that people put into slides and letters."""

from metseg.formats import packed, read_mask
from metseg.imaging import draw_contours
from metseg.results.exports.finished_job import Kept

SUFFIX = "_overlay"


def overlay(kept: Kept, index: int) -> bytes:
    """One slice, the first is 0: FLAIR with the contours of its lesions, as a PNG.

    Raises:
        NotFound: there is no such slice.
    """
    return draw_contours(kept.picture(index), read_mask(kept.get("mask.nii.gz"))[index])


def overlays(kept: Kept) -> bytes:
    """All slices so, as a ZIP of `<stem>_overlay.png` under the uploaded names."""
    mask = read_mask(kept.get("mask.nii.gz"))
    return packed(
        (f"{each.name}{SUFFIX}.png", draw_contours(kept.picture(each.index), mask[each.index]))
        for each in kept.result().slices
    )

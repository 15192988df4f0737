"""Masks, probability and uncertainty maps in another format than they are kept in."""

from metseg.formats import (
    UNCERTAINTY_SUFFIX,
    ArtefactFormat,
    on_uploaded_grid,
    read_mask,
    read_probability,
    write_mask,
    write_probability,
)
from metseg.results.exports.finished_job import Kept


def as_uploaded(kept: Kept, name: str) -> bytes:
    """A NIfTI artefact in the order of the uploaded volume: its grid, its place, voxel for voxel.

    What was uploaded as anything but NIfTI has no other order than the one in which the artefact is kept.
    """
    grid = kept.result().grid
    data = kept.get(name)
    return data if grid is None or grid.nifti is None else on_uploaded_grid(data, grid)


def mask(kept: Kept, format: ArtefactFormat) -> bytes:
    """The mask as a file of that format; NIfTI on the grid of the upload."""
    if format == "nifti":
        return as_uploaded(kept, "mask.nii.gz")
    return write_mask(read_mask(kept.get("mask.nii.gz")), _names(kept, format), format)


def probability(kept: Kept, format: ArtefactFormat) -> bytes:
    """The probability map as a file of that format; NIfTI on the grid of the upload.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    if format == "nifti":
        return as_uploaded(kept, "probability.nii.gz")
    probabilities = read_probability(kept.get("probability.nii.gz"))
    return write_probability(probabilities, format, names=_names(kept, format))


def uncertainty(kept: Kept, format: ArtefactFormat) -> bytes:
    """The uncertainty map as a file of that format; see `probability`.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    if format == "nifti":
        return as_uploaded(kept, "uncertainty.nii.gz")
    spread = read_probability(kept.get("uncertainty.nii.gz"))
    return write_probability(spread, format, names=_names(kept, format), suffix=UNCERTAINTY_SUFFIX)


def _names(kept: Kept, format: ArtefactFormat) -> list[str]:
    """The uploaded names of the slices, which a ZIP alone needs."""
    return [each.name for each in kept.result().slices] if format == "zip" else []

"""Masks and probability maps in another format than they are kept in."""

from metseg.formats import ArtefactFormat, read_mask, read_probability, write_mask, write_probability
from metseg.outputs.kept import Kept


def mask(kept: Kept, format: ArtefactFormat) -> bytes:
    """The mask as a file of that format; NIfTI as it is kept."""
    data = kept.get("mask.nii.gz")
    return data if format == "nifti" else write_mask(read_mask(data), _names(kept, format), format)


def probability(kept: Kept, format: ArtefactFormat) -> bytes:
    """The probability map as a file of that format; NIfTI as it is kept.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    data = kept.get("probability.nii.gz")
    return data if format == "nifti" else write_probability(read_probability(data), format, names=_names(kept, format))


def _names(kept: Kept, format: ArtefactFormat) -> list[str]:
    """The uploaded names of the slices, which a ZIP alone needs."""
    return [each.name for each in kept.result().slices] if format == "zip" else []

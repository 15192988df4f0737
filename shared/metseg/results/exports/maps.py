"""Masks, probability and uncertainty maps in the format that is asked for."""

from metseg.formats import (
    PROBABILITY_SUFFIX,
    UNCERTAINTY_SUFFIX,
    ArtefactFormat,
    read_mask,
    read_probability,
    restore_uploaded_grid,
    write_mask,
    write_probability,
)
from metseg.results.exports.finished_job import FinishedJob


def export_mask(job: FinishedJob, format: ArtefactFormat) -> bytes:
    """The mask.

    Args:
        job: a finished job.
        format: of the file; NIfTI has the grid of the upload.

    Returns:
        The file.
    """
    if format == "nifti":
        return _nifti(job, "mask.nii.gz")
    return write_mask(read_mask(job.artefact("mask.nii.gz")), _slice_names(job, format), format)


def export_probability(job: FinishedJob, format: ArtefactFormat) -> bytes:
    """The probability map.

    Args:
        job: a finished job.
        format: of the file; NIfTI has the grid of the upload.

    Returns:
        The file.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    return _export_map(job, "probability.nii.gz", format, PROBABILITY_SUFFIX)


def export_uncertainty(job: FinishedJob, format: ArtefactFormat) -> bytes:
    """The uncertainty map.

    Args:
        job: a finished job whose uncertainty was asked for.
        format: of the file; NIfTI has the grid of the upload.

    Returns:
        The file.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    return _export_map(job, "uncertainty.nii.gz", format, UNCERTAINTY_SUFFIX)


def _export_map(job: FinishedJob, name: str, format: ArtefactFormat, suffix: str) -> bytes:
    """A map of float32 in [0, 1] that is stored as a NIfTI artefact; `suffix` ends the names in a ZIP."""
    if format == "nifti":
        return _nifti(job, name)
    values = read_probability(job.artefact(name))
    return write_probability(values, format, names=_slice_names(job, format), suffix=suffix)


def _nifti(job: FinishedJob, name: str) -> bytes:
    """A NIfTI artefact on the grid of the upload; an upload that was not NIfTI has no grid but the artefact's own."""
    grid = job.result().grid
    data = job.artefact(name)
    return data if grid is None or grid.nifti is None else restore_uploaded_grid(data, grid)


def _slice_names(job: FinishedJob, format: ArtefactFormat) -> list[str]:
    """The uploaded names of the slices, which only a ZIP needs."""
    return [each.name for each in job.result().slices] if format == "zip" else []

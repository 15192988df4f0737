"""Masks, probability and uncertainty maps in the format that is asked for."""

import shutil
from io import BytesIO
from typing import BinaryIO

import numpy as np

from metseg.formats import (
    MASK_SUFFIX,
    PROBABILITY_SUFFIX,
    UNCERTAINTY_SUFFIX,
    ArtefactFormat,
    StoredSlices,
    restore_uploaded_grid,
    write_labels,
    write_slices,
)
from metseg.results.exports.finished_job import MASK, PROBABILITY, UNCERTAINTY, WHOLE_MASK, FinishedJob

CHUNK_BYTES = 2**20


def export_mask(job: FinishedJob, target: BinaryIO, format: ArtefactFormat, source: str = MASK) -> None:
    """Write a mask.

    Args:
        job: a finished job.
        target: where the file is written.
        format: of the file; NIfTI has the grid of the upload.
        source: the artefact.
    """
    _export(job, source, target, format, MASK_SUFFIX)


def export_label_map(job: FinishedJob, target: BinaryIO) -> None:
    """Write which structure each voxel belongs to: 1 in the core, 2 in the rest of the whole.

    Args:
        job: a finished job whose core is known.
        target: where a NIfTI file is written, with the grid of the upload.
    """
    with job.open_artefact(MASK) as core, job.open_artefact(WHOLE_MASK) as whole:
        cores, wholes = StoredSlices(core), StoredSlices(whole)
        labels = (np.where(inner != 0, 1, 2 * outer) for inner, outer in zip(cores, wholes, strict=True))
        content = write_labels(labels, cores.shape, 2, job.result().spacing_mm, cores.affine)
    _write_on_uploaded_grid(job, BytesIO(content), target)


def export_probability(job: FinishedJob, target: BinaryIO, format: ArtefactFormat, source: str = PROBABILITY) -> None:
    """Write a probability map.

    Args:
        job: a finished job.
        target: where the file is written.
        format: of the file; NIfTI has the grid of the upload.
        source: the artefact.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    _export(job, source, target, format, PROBABILITY_SUFFIX)


def export_uncertainty(job: FinishedJob, target: BinaryIO, format: ArtefactFormat) -> None:
    """Write the uncertainty map.

    Args:
        job: a finished job whose uncertainty was asked for.
        target: where the file is written.
        format: of the file; NIfTI has the grid of the upload.

    Raises:
        NotAvailable: a PNG is asked for more than one slice.
    """
    _export(job, UNCERTAINTY, target, format, UNCERTAINTY_SUFFIX)


def copy_artefact(job: FinishedJob, target: BinaryIO, name: str) -> None:
    """Write an artefact as it is stored.

    Args:
        job: a finished job.
        target: where the file is written.
        name: of the artefact.

    Raises:
        NotFound: the job has no such artefact.
    """
    with job.open_artefact(name) as stored:
        shutil.copyfileobj(stored, target, CHUNK_BYTES)


def _export(job: FinishedJob, name: str, target: BinaryIO, format: ArtefactFormat, suffix: str) -> None:
    """A mask or map that is stored as a NIfTI artefact; `suffix` ends the names in a ZIP."""
    if format == "nifti":
        with job.open_artefact(name) as stored:
            _write_on_uploaded_grid(job, stored, target)
        return
    names = [each.name for each in job.result().slices] if format == "zip" else []
    with job.open_artefact(name) as stored:
        slices = StoredSlices(stored)
        shown = (np.where(one, np.uint8(255), np.uint8(0)) for one in slices) if slices.dtype == np.uint8 else slices
        write_slices(shown, slices.shape[0], format, target, names=names, suffix=suffix)


def _write_on_uploaded_grid(job: FinishedJob, stored: BinaryIO, target: BinaryIO) -> None:
    """A file in NIfTI as it is, unless the upload was NIfTI, too, and has a grid of its own."""
    grid = job.result().grid
    if grid is None or grid.nifti is None:
        shutil.copyfileobj(stored, target, CHUNK_BYTES)
    else:
        restore_uploaded_grid(stored, grid, target)

"""Stored masks and maps on the grid of the NIfTI file that was uploaded."""

from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import nibabel
import numpy as np

from metseg.contracts import Grid, NiftiGeometry
from metseg.errors import NotAvailable
from metseg.formats.nifti.maps import NO_EXTENSION, StoredSlices, gzip_compressor
from metseg.imaging import Array, Shape, from_canonical

__all__ = ["restore_uploaded_grid"]

BLOCK_BYTES = 2**24
"""Of the file's voxels that are in memory at a time."""
LAST_AXIS = 2
"""The slowest axis of a NIfTI file: its planes are written one after the other."""


def restore_uploaded_grid(stored: BinaryIO, grid: Grid, target: BinaryIO) -> None:
    """Convert a stored mask or probability map to the order and geometry of the uploaded NIfTI file.

    Voxels are only reordered: the stored numbers do not change, and the header's geometry is copied field by field.
    Memory holds a block of voxels; the others are on disk meanwhile.

    Args:
        stored: from `write_mask` or `write_probability`.
        grid: of the result, with its `nifti`.
        target: where a `.nii.gz` is written.

    Raises:
        ProcessingFailed: the stored file is damaged.
        NotAvailable: the upload was not NIfTI.
    """
    if grid.nifti is None:
        raise NotAvailable("The upload was not a NIfTI file, so there is no header to restore.")
    slices = StoredSlices(stored)
    compressor = gzip_compressor()
    header = _header(grid.nifti, slices.dtype, slices.slope)
    target.write(compressor.compress(header.binaryblock + NO_EXTENSION))
    for block in _blocks(slices, grid):
        target.write(compressor.compress(from_canonical(block, grid).tobytes(order="F")))
    target.write(compressor.flush())


def _header(fields: NiftiGeometry, dtype: "np.dtype[Any]", slope: float) -> Any:  # noqa: ANN401 (nibabel has no types)
    kind = nibabel.Nifti1Header if fields.version == 1 else nibabel.Nifti2Header
    header: Any = kind()  # type: ignore[no-untyped-call]
    header.set_data_dtype(dtype)
    header.set_data_shape(fields.dim)
    header["pixdim"][:4] = fields.pixdim
    for name, row in zip("xyz", fields.srow, strict=True):
        header[f"srow_{name}"] = row
    for name, value in zip("bcd", fields.quatern, strict=True):
        header[f"quatern_{name}"] = value
    for name, value in zip("xyz", fields.qoffset, strict=True):
        header[f"qoffset_{name}"] = value
    header["qform_code"], header["sform_code"] = fields.qform_code, fields.sform_code
    header["xyzt_units"] = fields.xyzt_units
    header.set_slope_inter(slope, 0)
    header["vox_offset"] = len(header.binaryblock) + len(NO_EXTENSION)
    return header


def _blocks(slices: StoredSlices, grid: Grid) -> Iterator[Array]:
    """The volume, (slice, row, column), in parts along the axis that is the file's last one, in the file's order."""
    along = grid.axes.index(LAST_AXIS)
    reverse = grid.flipped[along]
    if along == 0 and not reverse:  # slices come in the order of the file
        yield from (one[np.newaxis] for one in slices)
        return
    bounds = _bounds(slices.shape, slices.dtype.itemsize, along)
    with TemporaryFile() as scratch:
        offsets = _scatter(slices, along, bounds, scratch)
        for (start, stop), offset in sorted(zip(bounds, offsets, strict=True), reverse=reverse):
            shape = list(slices.shape)
            shape[along] = stop - start
            scratch.seek(offset)
            yield np.frombuffer(scratch.read(int(np.prod(shape)) * slices.dtype.itemsize), slices.dtype).reshape(shape)


def _bounds(shape: Shape, itemsize: int, along: int) -> list[tuple[int, int]]:
    """Where the blocks start and stop along an axis."""
    plane_bytes = int(np.prod(shape)) // shape[along] * itemsize
    step = max(1, BLOCK_BYTES // plane_bytes)
    return [(start, min(start + step, shape[along])) for start in range(0, shape[along], step)]


def _scatter(slices: StoredSlices, along: int, bounds: Sequence[tuple[int, int]], scratch: BinaryIO) -> Sequence[int]:
    """Write each block in one piece, slice by slice; returns where each starts."""
    per_plane = int(np.prod(slices.shape)) // slices.shape[along] * slices.dtype.itemsize
    offsets = [start * per_plane for start, _ in bounds]
    for index, one in enumerate(slices):
        if along == 0:
            scratch.write(one.data)  # blocks are runs of slices
            continue
        for (start, stop), offset in zip(bounds, offsets, strict=True):
            piece = np.ascontiguousarray(one[start:stop] if along == 1 else one[:, start:stop])
            scratch.seek(offset + index * piece.nbytes)
            scratch.write(piece.data)
    return offsets

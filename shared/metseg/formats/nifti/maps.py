"""NIfTI out: our own masks and probability maps, as the store keeps them and as people download them.

Our arrays are (slice, row, column); NIfTI's are (column, row, slice), the first axis fastest. So the bytes of
both are in the same order, and an affine maps (column, row, slice) indices to patient millimetres.
"""

import gzip
import zlib
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.contracts import Grid
from metseg.errors import NotAvailable, ProcessingFailed
from metseg.imaging import from_canonical

__all__ = [
    "Affine",
    "ProbabilityFile",
    "Spacing",
    "on_uploaded_grid",
    "quantise",
    "read_mask",
    "read_probability",
    "write_mask",
    "write_probability",
]

Affine = npt.NDArray[np.float64]
Spacing = tuple[float, float, float]

LEVEL = 2  # of ISA-L, from 0 to 3: as small as zlib's 4
NO_EXTENSION = bytes(4)  # stands between header and voxels
STEPS = 65535  # a probability of 1; 16 bits keep what float32 holds to 8e-6
DAMAGE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)


def write_mask(mask: npt.NDArray[np.bool_], spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """A mask, (slice, row, column), as `.nii.gz` of uint8, 0 and 1; equal input gives equal bytes."""
    packing = _Packing(mask.shape, np.uint8, spacing_mm, affine)
    for one in mask:
        packing.add(one)
    return packing.finish()


def write_probability(probability: npt.NDArray[np.float32], spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """A probability map, (slice, row, column), as `ProbabilityFile` packs it."""
    file = ProbabilityFile(probability.shape, spacing_mm, affine)
    for index, one in enumerate(probability):
        file.add(index, one)
    return file.finish()


class ProbabilityFile:
    """A probability map as `.nii.gz` of uint16 with the slope 1/65535, packed slice by slice as these are known.

    Equal input gives equal bytes.

    Args:
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; None where it is not known.
        affine: from (column, row, slice) to RAS+ millimetres; None where it is not known.
    """

    def __init__(self, shape: tuple[int, ...], spacing_mm: Spacing | None, affine: Affine | None) -> None:
        self._packing = _Packing(shape, np.uint16, spacing_mm, affine, slope=1 / STEPS)

    def add(self, index: int, probability: npt.NDArray[np.float32]) -> None:
        """The next slice, (row, column); `index` is its number, from 0 on."""
        self._packing.add(_steps(probability), index)

    def finish(self) -> bytes:
        """The file, once every slice was added."""
        return self._packing.finish()


def quantise(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Probabilities in 65536 steps."""
    return np.stack([_steps(one) for one in probability])  # a slice in float64 is enough at a time


def _steps(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    return np.rint(probability * np.float64(STEPS)).astype(np.uint16)


def read_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """The mask in bytes that `write_mask` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    mask: npt.NDArray[np.bool_] = _unpack(data) > 0
    return mask


def read_probability(data: bytes) -> npt.NDArray[np.float32]:
    """The probability map in bytes that `write_probability` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    probability: npt.NDArray[np.float32] = np.divide(_unpack(data), STEPS).astype(np.float32)
    return probability


def on_uploaded_grid(data: bytes, grid: Grid) -> bytes:
    """A mask or probability map as it is kept, in the order and with the header of the NIfTI file that was uploaded.

    Voxels are only reordered: the stored numbers stay what they are, and the place is written field by field.

    Args:
        data: as `write_mask` or `write_probability` wrote it.
        grid: of the result, with its `nifti`.

    Raises:
        ProcessingFailed: the bytes are damaged.
        NotAvailable: the upload was not NIfTI.
    """
    place = grid.nifti
    if place is None:
        raise NotAvailable("The upload was no NIfTI file, so there is no header to go back to.")
    voxels = from_canonical(_unpack(data), grid)
    kind = nibabel.Nifti1Header if place.version == 1 else nibabel.Nifti2Header
    header: Any = kind()  # type: ignore[no-untyped-call]
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(place.dim)
    header["pixdim"][:4] = place.pixdim
    for name, row in zip("xyz", place.srow, strict=True):
        header[f"srow_{name}"] = row
    for name, value in zip("bcd", place.quatern, strict=True):
        header[f"quatern_{name}"] = value
    for name, value in zip("xyz", place.qoffset, strict=True):
        header[f"qoffset_{name}"] = value
    header["qform_code"], header["sform_code"] = place.qform_code, place.sform_code
    header["xyzt_units"] = place.xyzt_units
    if voxels.dtype == np.uint16:
        header.set_slope_inter(1 / STEPS, 0)
    header["vox_offset"] = len(header.binaryblock) + len(NO_EXTENSION)
    return igzip.compress(header.binaryblock + NO_EXTENSION + voxels.tobytes(order="F"), LEVEL, mtime=0)


class _Packing:
    """A `.nii.gz` in the making."""

    def __init__(
        self,
        shape: tuple[int, ...],
        depth: type[np.uint8 | np.uint16],
        spacing_mm: Spacing | None,
        affine: Affine | None,
        slope: float = 1,
    ) -> None:
        values = np.broadcast_to(depth(0), shape[::-1])  # of that shape without being as large
        image: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
        if affine is not None or spacing_mm is not None:
            image.header.set_xyzt_units("mm")
        if affine is None and spacing_mm is not None:  # sizes are known, the place in the patient is not
            image.header.set_zooms(spacing_mm[::-1])
        image.header.set_slope_inter(slope, 0)
        image.header["vox_offset"] = len(image.header.binaryblock) + len(NO_EXTENSION)
        self._depth, self._slices, self._added = depth, shape[0], 0
        self._gzip = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, isal_zlib.MAX_WBITS | 16)
        self._chunks = [self._gzip.compress(image.header.binaryblock + NO_EXTENSION)]

    def add(self, one: npt.NDArray[np.generic], index: int | None = None) -> None:
        """The next slice, (row, column), whose number is `index` where that is told."""
        if index not in (None, self._added):
            raise ValueError(f"slice {index} came where {self._added} was awaited")
        self._chunks.append(self._gzip.compress(np.ascontiguousarray(one, self._depth)))
        self._added += 1

    def finish(self) -> bytes:
        """The file."""
        if self._added != self._slices:
            raise ValueError(f"{self._added} of {self._slices} slices came")
        return b"".join([*self._chunks, self._gzip.flush()])


def _unpack(data: bytes) -> npt.NDArray[Any]:
    """The stored values, unscaled, as (slice, row, column)."""
    try:
        image: Any = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
        return np.asarray(image.dataobj.get_unscaled()).transpose()
    except DAMAGE as error:
        raise ProcessingFailed("A stored result is damaged; submit the study again.") from error

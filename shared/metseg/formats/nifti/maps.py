"""Masks and probability maps as NIfTI: how the store keeps them and how people download them.

metseg's arrays are (slice, row, column); NIfTI's are (column, row, slice), the first axis fastest. So the bytes of both
are in the same order, and an affine maps (column, row, slice) indices to patient millimetres.
"""

import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.errors import ProcessingFailed
from metseg.imaging import Affine, Array, Float32Array, LabelMap, Mask, Shape, Spacing, UInt8Array

__all__ = [
    "DAMAGE",
    "HEADER_BYTES",
    "MAX_LEVEL",
    "NO_EXTENSION",
    "PROBABILITIES",
    "ProbabilityWriter",
    "StoredSlices",
    "gzip_compressor",
    "quantise",
    "read_mask",
    "read_probability",
    "write_labels",
    "write_mask",
    "write_probability",
]

COMPRESSION_LEVEL = 2  # of ISA-L, from 0 to 3: as small as zlib's 4
HEADER_BYTES = 348
NO_EXTENSION = bytes(4)  # between header and voxels
MAX_LEVEL = 65535  # a probability of 1; 16 bits are exact to 8e-6
PROBABILITIES = (np.arange(MAX_LEVEL + 1) / MAX_LEVEL).astype(np.float32)
"""Of each stored level."""
_ISAL_ERROR: type[Exception] = cast(type[Exception], isal_zlib.IsalError)
DAMAGE = (
    *(OSError, EOFError, ValueError, zlib.error, _ISAL_ERROR),
    *(ImageFileError, HeaderDataError, WrapStructError),
)


def write_mask(mask: Mask | UInt8Array, spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """Write a mask or a label map; equal input gives equal bytes.

    Args:
        mask: bool, (slice, row, column); or uint8 labels.
        spacing_mm: between slices, rows and columns; None where unknown.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.

    Returns:
        A `.nii.gz` of uint8: 0 and 1, or the labels.
    """
    writer = _SliceWriter(mask.shape, np.uint8, spacing_mm, affine)
    for one in mask:
        writer.add(one)
    return writer.finish()


def write_labels(
    slices: Iterable[LabelMap], shape: Shape, largest: int, spacing_mm: Spacing | None, affine: Affine | None
) -> bytes:
    """Write a label map slice by slice; equal input gives equal bytes.

    Args:
        slices: int32, (row, column), in order.
        shape: slices, rows, columns.
        largest: label that occurs, which decides how many bytes a voxel takes.
        spacing_mm: as in `write_mask`.
        affine: as in `write_mask`.

    Returns:
        A `.nii.gz` of the smallest unsigned integers that hold the labels.
    """
    writer = _SliceWriter(shape, np.min_scalar_type(largest), spacing_mm, affine)
    for one in slices:
        writer.add(one)
    return writer.finish()


def write_probability(probability: Float32Array, spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """Write a probability map.

    Args:
        probability: float32 in [0, 1], (slice, row, column).
        spacing_mm: as in `write_mask`.
        affine: as in `write_mask`.

    Returns:
        A `.nii.gz` as from `ProbabilityWriter`.
    """
    writer = ProbabilityWriter(probability.shape, spacing_mm, affine)
    for index, one in enumerate(probability):
        writer.add(index, one)
    return writer.finish()


class ProbabilityWriter:
    """Writes a probability map as `.nii.gz` of uint16 with the slope 1/65535, slice by slice.

    Equal input gives equal bytes.

    Args:
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; None where unknown.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.
    """

    def __init__(self, shape: tuple[int, ...], spacing_mm: Spacing | None, affine: Affine | None) -> None:
        self._writer = _SliceWriter(shape, np.uint16, spacing_mm, affine, slope=1 / MAX_LEVEL)

    def add(self, index: int, probability: Float32Array) -> None:
        """Add the next slice.

        Args:
            index: of the slice, from 0 in order.
            probability: float32 in [0, 1], (row, column).

        Raises:
            ValueError: another slice was due (a bug in the caller).
        """
        self._writer.add(quantise(probability), index)

    def finish(self) -> bytes:
        """The file, after every slice was added."""
        return self._writer.finish()


def quantise(probability: Float32Array) -> npt.NDArray[np.uint16]:
    """Probabilities of one slice in 65536 levels."""
    return np.rint(probability * np.float64(MAX_LEVEL)).astype(np.uint16)


class StoredSlices:
    """A mask or map as the store keeps it, read slice by slice, so that memory holds one slice.

    Args:
        stream: the file from its start.

    Attributes:
        shape: slices, rows, columns.
        dtype: of the stored values: uint8 of a mask, uint16 of a map.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.
        slope: by which stored values are multiplied: 1 of masks and labels.

    Raises:
        ProcessingFailed: the file is damaged.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._content = cast(BinaryIO, igzip.IGzipFile(fileobj=stream, mode="rb"))  # type: ignore[no-untyped-call]
        try:
            header: Any = nibabel.Nifti1Header(self._content.read(HEADER_BYTES))  # type: ignore[no-untyped-call]
            columns, rows, slices = (int(side) for side in header.get_data_shape())
        except DAMAGE as error:
            raise ProcessingFailed.damaged_result() from error
        self.shape: Shape = (slices, rows, columns)
        self.dtype: np.dtype[Any] = header.get_data_dtype()
        self.affine: Affine | None = header.get_sform() if header["sform_code"] else None
        self.slope = float(header["scl_slope"])
        self._first_byte = int(header["vox_offset"])
        self._slice_bytes = rows * columns * self.dtype.itemsize

    def __iter__(self) -> Iterator[Array]:
        """The slices in order, (row, column), unscaled; ProcessingFailed where the file is damaged."""
        self._seek(0)
        for _ in range(self.shape[0]):
            yield self._read()
        self._check_end()

    def read_all(self, dtype: npt.DTypeLike) -> Array:
        """All slices in memory.

        Args:
            dtype: of the array; of a mask bool.

        Returns:
            (slice, row, column), unscaled.

        Raises:
            ProcessingFailed: the file is damaged.
        """
        values: Array = np.empty(self.shape, dtype)
        for one, target in zip(self, values, strict=True):
            target[:] = one
        return values

    def read(self, index: int) -> Array:
        """One slice, (row, column), unscaled; slices have to be read in order.

        Raises:
            ProcessingFailed: the file is damaged, or has no such slice.
        """
        self._seek(index)
        return self._read()

    def _seek(self, index: int) -> None:
        try:
            self._content.seek(self._first_byte + index * self._slice_bytes)
        except DAMAGE as error:
            raise ProcessingFailed.damaged_result() from error

    def _read(self) -> Array:
        try:
            values: Array = np.frombuffer(self._content.read(self._slice_bytes), self.dtype).reshape(self.shape[1:])
        except DAMAGE as error:
            raise ProcessingFailed.damaged_result() from error
        return values

    def _check_end(self) -> None:
        """Refuse a file that goes on; at the end its checksum is compared, too."""
        try:
            ended = not self._content.read(1)
        except DAMAGE as error:
            raise ProcessingFailed.damaged_result() from error
        if not ended:
            raise ProcessingFailed.damaged_result()


def read_mask(data: bytes) -> Mask:
    """Read a mask that `write_mask` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    return StoredSlices(BytesIO(data)).read_all(np.bool_)


def read_probability(data: bytes) -> Float32Array:
    """Read a probability map that `write_probability` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    slices = StoredSlices(BytesIO(data))
    probability = np.empty(slices.shape, np.float32)
    for stored, target in zip(slices, probability, strict=True):
        target[:] = PROBABILITIES[stored]
    return probability


class _SliceWriter:
    """Writes a `.nii.gz` slice by slice."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        spacing_mm: Spacing | None,
        affine: Affine | None,
        slope: float = 1,
    ) -> None:
        values = np.broadcast_to(np.zeros((), dtype), shape[::-1])  # of that shape without its memory
        image: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
        if affine is not None or spacing_mm is not None:
            image.header.set_xyzt_units("mm")
        if affine is None and spacing_mm is not None:  # the spacing is known, the position is not
            image.header.set_zooms(spacing_mm[::-1])
        image.header.set_slope_inter(slope, 0)
        image.header["vox_offset"] = len(image.header.binaryblock) + len(NO_EXTENSION)
        self._dtype, self._slices, self._added = dtype, shape[0], 0
        self._gzip = gzip_compressor()
        self._chunks = [self._gzip.compress(image.header.binaryblock + NO_EXTENSION)]

    def add(self, one: Array, index: int | None = None) -> None:
        """Add the next slice, (row, column); `index`, where given, is checked."""
        if index not in (None, self._added):
            raise ValueError(f"slice {index} was added where {self._added} was due")
        self._chunks.append(self._gzip.compress(np.ascontiguousarray(one, self._dtype)))
        self._added += 1

    def finish(self) -> bytes:
        """The file."""
        if self._added != self._slices:
            raise ValueError(f"{self._added} of {self._slices} slices were added")
        return b"".join([*self._chunks, self._gzip.flush()])


def gzip_compressor() -> Any:  # noqa: ANN401 (isal has no types)
    """A compressor of a gzip file without a date, so that equal content gives equal bytes."""
    return isal_zlib.compressobj(COMPRESSION_LEVEL, isal_zlib.DEFLATED, isal_zlib.MAX_WBITS | 16)

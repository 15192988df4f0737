"""A channel of a study for the viewer, as NIfTI, written slice by slice, so that a study is never all in memory."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import nibabel
import numpy as np
from isal import igzip

from metseg.errors import ProcessingFailed
from metseg.formats.nifti.maps import DAMAGE, HEADER_BYTES, NO_EXTENSION
from metseg.imaging import decode_channel

__all__ = ["write_display_volume"]

COMPRESSION_LEVEL = 1  # of gzip: a page waits for it


def write_display_volume(mask: BinaryIO, slices: Iterable[bytes], channel: int) -> Iterator[bytes]:
    """Write one channel on the grid of the mask.

    Args:
        mask: of the study, as stored; its header has the grid.
        slices: PNGs of the study's slices in order, as stored: grey, or the channels as colours.
        channel: index of the one to write.

    Yields:
        Chunks of a `.nii.gz` of uint8.

    Raises:
        ProcessingFailed: a PNG or the mask is damaged, or they differ in size.
    """
    header = _header(mask)
    columns, rows, count = (int(side) for side in header.get_data_shape())
    compressor = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield compressor.compress(header.binaryblock + NO_EXTENSION)
    written = 0
    for png in slices:
        yield compressor.compress(bytes(decode_channel(png, (rows, columns), channel)))
        written += 1
    if written != count:
        raise ProcessingFailed.damaged_result()
    yield compressor.flush()


def _header(mask: BinaryIO) -> Any:  # noqa: ANN401 (nibabel has no types)
    """The mask's header for values from 0 to 255, displayed unscaled."""
    try:
        header = nibabel.Nifti1Header(igzip.IGzipFile(fileobj=mask, mode="rb").read(HEADER_BYTES))  # type: ignore[no-untyped-call]
    except (*DAMAGE, struct.error) as error:
        raise ProcessingFailed.damaged_result() from error
    header.set_data_dtype(np.uint8)  # type: ignore[no-untyped-call]
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_min"], header["cal_max"] = 0, 255
    header["vox_offset"] = HEADER_BYTES + len(NO_EXTENSION)
    return header

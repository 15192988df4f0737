"""A channel of a study for the screen, as NIfTI: made slice by slice, so that a study is never whole in memory."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import nibabel
import numpy as np

from metseg.errors import ProcessingFailed
from metseg.formats.nifti.maps import DAMAGE
from metseg.imaging import CHANNELS

__all__ = ["display_volume"]

HEAD_BYTES = 352
LEVEL = 1  # of gzip: a page waits for it


def display_volume(mask: bytes, pictures: Iterable[bytes], channel: int) -> Iterator[bytes]:
    """The chunks of a `.nii.gz` of uint8 on the grid and in the place of the mask.

    Args:
        mask: of the study as the store keeps it; its header tells the grid.
        pictures: of the study's slices in order, each as the store keeps it: grey, or the channels as colours.
        channel: the one to give.

    Raises:
        ProcessingFailed: a picture or the mask is damaged, or they are of different grids.
    """
    header = _header(mask)
    columns, rows, slices = (int(side) for side in header.get_data_shape())
    packed = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield packed.compress(header.binaryblock + b"\0" * (HEAD_BYTES - len(header.binaryblock)))
    seen = 0
    for picture in pictures:
        yield packed.compress(_plane(picture, channel, (rows, columns)))
        seen += 1
    if seen != slices:
        raise _damaged()
    yield packed.flush()


def _header(mask: bytes) -> Any:  # noqa: ANN401 (nibabel has no types)
    """The mask's header for values from 0 to 255, to be shown as they are."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(mask)) as unpacked:
            header = nibabel.Nifti1Header(unpacked.read(348))  # type: ignore[no-untyped-call]
    except (*DAMAGE, struct.error) as error:
        raise _damaged() from error
    header.set_data_dtype(np.uint8)  # type: ignore[no-untyped-call]
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_min"], header["cal_max"] = 0, 255
    header["vox_offset"] = HEAD_BYTES
    return header


def _plane(picture: bytes, channel: int, shape: tuple[int, int]) -> bytes:
    kept = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED) if picture else None
    if kept is None or kept.shape[:2] != shape:
        raise _damaged()
    return bytes(kept if kept.ndim == 2 else kept[..., len(CHANNELS) - 1 - channel])  # OpenCV has colours reversed


def _damaged() -> ProcessingFailed:
    return ProcessingFailed("A stored result is damaged; submit the study again.")

"""Writes masks and probability maps in the formats that people download.

Equal input gives equal bytes, so that an ETag holds: nothing written here has a date.
"""

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain
from typing import BinaryIO, Literal, cast, get_args
from zipfile import ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg.errors import NotAvailable
from metseg.formats.names import MASK_SUFFIX
from metseg.formats.nifti import maps
from metseg.formats.nifti.maps import (
    PROBABILITIES,
    ProbabilityWriter,
    StoredSlices,
    read_mask,
    read_probability,
    write_labels,
)
from metseg.formats.nifti.uploaded_grid import restore_uploaded_grid
from metseg.imaging import Affine, Float32Array, Mask, Spacing, UInt8Array, encode_animated_png, encode_png

__all__ = [
    "PROBABILITIES",
    "ArtefactFormat",
    "FrameSequence",
    "ProbabilityWriter",
    "StoredSlices",
    "read_mask",
    "read_probability",
    "restore_uploaded_grid",
    "write_labels",
    "write_mask",
    "write_probability",
    "write_slices",
    "write_zip",
]

ArtefactFormat = Literal["png", "tiff", "nifti", "zip"]
PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX = "_probability", "_uncertainty"


def write_mask(
    mask: Mask | UInt8Array,
    names: Sequence[str],
    format: ArtefactFormat,
    *,
    spacing_mm: Spacing | None = None,
    affine: Affine | None = None,
) -> bytes:
    """Write a mask: 0 and 255 in images, 0 and 1 in NIfTI.

    Args:
        mask: bool, (slice, row, column); or uint8 labels, for `nifti` alone.
        names: one unique stem per slice; `zip` names its files `<stem>_mask.png`.
        format: `png` and `tiff` have a page for each slice. The pages of a PNG are the frames of an animation, of which
            a plain viewer shows only the first, so offer `zip` or `tiff` to people.
        spacing_mm: between slices, rows and columns; stored by `nifti`.
        affine: from (column, row, slice) to patient millimetres; stored by `nifti`.

    Returns:
        The file's bytes.

    Raises:
        NotAvailable: there is no such format.
    """
    if format == "nifti":
        return maps.write_mask(mask, spacing_mm, affine)
    target = BytesIO()
    images = (one * np.uint8(255) for one in mask)
    write_slices(images, len(mask), format, target, names=names, suffix=MASK_SUFFIX)
    return target.getvalue()


def write_probability(
    probability: Float32Array,
    format: ArtefactFormat,
    *,
    names: Sequence[str] = (),
    suffix: str = PROBABILITY_SUFFIX,
    spacing_mm: Spacing | None = None,
    affine: Affine | None = None,
) -> bytes:
    """Write a probability map in 16 bits: 1 is 65535 in images; NIfTI scales it back.

    Args:
        probability: float32 in [0, 1], (slice, row, column).
        format: `png` is for one slice; the others as in `write_mask`.
        names: one unique stem per slice; needed by `zip`, which names its files `<stem>_probability.png`.
        suffix: of those names, instead of `_probability`.
        spacing_mm: as in `write_mask`.
        affine: as in `write_mask`.

    Returns:
        The file's bytes.

    Raises:
        NotAvailable: there is no such format, or a PNG of more than one slice was requested: the frames of
            an animation do not keep 16 bits exactly.
    """
    if format == "nifti":
        return maps.write_probability(probability, spacing_mm, affine)
    target = BytesIO()
    write_slices(map(maps.quantise, probability), len(probability), format, target, names=names, suffix=suffix)
    return target.getvalue()


def write_slices(
    slices: Iterable[npt.NDArray[np.uint8 | np.uint16]],
    count: int,
    format: str,
    target: BinaryIO,
    *,
    names: Sequence[str] = (),
    suffix: str = "",
) -> None:
    """Write slices as images; one of them is in memory at a time.

    Args:
        slices: uint8 or uint16, (row, column), as many as `count`.
        count: of slices.
        format: as in `write_mask`, without `nifti`.
        target: where the file is written; it has to be seekable.
        names: one unique stem per slice; needed by `zip`.
        suffix: of the names in a ZIP.

    Raises:
        NotAvailable: there is no such format, or a PNG of several slices of 16 bits was requested: the frames of an
            animation do not keep 16 bits exactly.
    """
    if format == "zip":
        write_zip(((f"{name}{suffix}.png", encode_png(one)) for name, one in zip(names, slices, strict=True)), target)
    elif format == "png":
        _write_png(slices, count, target)
    elif format == "tiff":
        pages = FrameSequence(map(Image.fromarray, slices), count)
        pages.save(target, "TIFF", save_all=count > 1, compression="tiff_adobe_deflate")
    else:
        formats = ", ".join(get_args(ArtefactFormat))
        raise NotAvailable(f"There is no such format for this artefact; request {formats}.")


def _write_png(slices: Iterable[npt.NDArray[np.uint8 | np.uint16]], count: int, target: BinaryIO) -> None:
    """A PNG of one slice, or an animation with a frame for each."""
    others = iter(slices)
    first = next(others)
    if count == 1:
        target.write(encode_png(first))
    elif first.dtype == np.uint8:
        target.writelines(encode_animated_png(cast(Iterator[UInt8Array], chain([first], others)), count))
    else:
        raise NotAvailable("A PNG holds the probabilities of one slice only; request zip, tiff or nifti.")


class FrameSequence(Image.Image):
    """An image of many frames that holds one at a time; Pillow's `append_images` would hold them all.

    Args:
        frames: drawn when the encoder asks for the next one.
        count: of frames.
    """

    def __init__(self, frames: Iterable[Image.Image], count: int) -> None:
        super().__init__()
        self._frames = iter(frames)
        self._frame = -1
        self.n_frames = count
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Go forward to a frame; an earlier one, which encoders return to at the end, is not drawn again."""
        while self._frame < frame:
            picture = next(self._frames)
            self.im, self._size, self._mode = picture.im, picture.size, picture.mode
            self._frame += 1

    def tell(self) -> int:
        """The frame that is drawn."""
        return self._frame


def write_zip(files: Iterable[tuple[str, bytes]], target: BinaryIO) -> None:
    """Write files, by name, into a ZIP one after the other; equal input gives equal bytes, dated 1980.

    Args:
        files: names and contents.
        target: where the ZIP is written; it has to be seekable.
    """
    with ZipFile(target, "w") as archive:
        for name, data in files:
            archive.writestr(ZipInfo(name), data)  # stored: a PNG is compressed already

"""Masks and probability maps in the formats that people ask for.

Equal input gives equal bytes, so that an ETag holds: nothing written here carries a date.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Literal, get_args
from zipfile import ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg.errors import NotAvailable
from metseg.formats.names import MASK_SUFFIX
from metseg.formats.nifti import maps
from metseg.formats.nifti.maps import ProbabilityFile, on_uploaded_grid, read_mask, read_probability

__all__ = [
    "ArtefactFormat",
    "ProbabilityFile",
    "on_uploaded_grid",
    "packed",
    "read_mask",
    "read_probability",
    "write_mask",
    "write_probability",
]

ArtefactFormat = Literal["png", "tiff", "nifti", "zip"]
Stack = npt.NDArray[Any]
PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX = "_probability", "_uncertainty"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_mask(
    mask: npt.NDArray[np.bool_],
    names: Sequence[str],
    format: ArtefactFormat,
    *,
    spacing_mm: maps.Spacing | None = None,
    affine: maps.Affine | None = None,
) -> bytes:
    """A mask in one of the formats: 0 and 255 in pictures, 0 and 1 in NIfTI.

    Args:
        mask: bool, (slice, row, column).
        names: one unique stem a slice; `zip` calls its files `<stem>_mask.png`.
        format: `png` and `tiff` have a page for each slice; a PNG's pages are the frames of an animation, which
            a plain viewer shows the first of, so offer `zip` or `tiff` to people.
        spacing_mm: between slices, rows and columns; kept by `nifti`.
        affine: from (column, row, slice) to patient millimetres; kept by `nifti`.

    Raises:
        NotAvailable: there is no such format.
    """
    if format == "nifti":
        return maps.write_mask(mask, spacing_mm, affine)
    return _pictures(mask.astype(np.uint8) * 255, names, MASK_SUFFIX, format)


def write_probability(
    probability: npt.NDArray[np.float32],
    format: ArtefactFormat,
    *,
    names: Sequence[str] = (),
    suffix: str = PROBABILITY_SUFFIX,
    spacing_mm: maps.Spacing | None = None,
    affine: maps.Affine | None = None,
) -> bytes:
    """A probability map in 16 bits: 1 is 65535 in pictures; NIfTI scales it back.

    Args:
        probability: float32 in [0, 1], (slice, row, column).
        format: `png` is for one slice; the rest as of `write_mask`.
        names: one unique stem a slice; needed by `zip`, which calls its files `<stem>_probability.png`.
        suffix: another end of those names.
        spacing_mm: as of `write_mask`.
        affine: as of `write_mask`.

    Raises:
        NotAvailable: there is no such format, or a PNG is asked for more than one slice: the frames of an
            animation are not kept exactly in 16 bits.
    """
    if format == "nifti":
        return maps.write_probability(probability, spacing_mm, affine)
    if format == "png" and len(probability) > 1:
        raise NotAvailable("A PNG holds the probabilities of one slice only; ask for zip, tiff or nifti.")
    return _pictures(maps.quantise(probability), names, suffix, format)


def _pictures(pictures: Stack, names: Sequence[str], suffix: str, format: str) -> bytes:
    if format != "zip":
        return _paged(pictures, format)
    files = zip(names, pictures, strict=True)
    return packed((f"{name}{suffix}.png", _encode(picture[np.newaxis], "PNG")) for name, picture in files)


def _paged(pictures: Stack, format: str) -> bytes:
    if format == "png":
        return _encode(pictures, "PNG")
    if format == "tiff":
        return _encode(pictures, "TIFF", compression="tiff_adobe_deflate")
    raise NotAvailable(f"There is no such format for this artefact; ask for {', '.join(get_args(ArtefactFormat))}.")


def _encode(pictures: Stack, format: str, **options: str) -> bytes:
    first, *others = map(Image.fromarray, pictures)
    target = BytesIO()
    first.save(target, format, save_all=bool(others), append_images=others, **options)
    return target.getvalue()


def packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A ZIP of files by name, taken one after the other; equal input gives equal bytes."""
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        for name, data in files:
            archive.writestr(ZipInfo(name, ZIP_EPOCH), data)  # stored: a PNG is packed already
    return target.getvalue()

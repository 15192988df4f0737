"""Writes masks and probability maps in the formats that people download.

Equal input gives equal bytes, so that an ETag holds: nothing written here has a date.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Literal, get_args
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import Image

from metseg.errors import NotAvailable
from metseg.formats.names import MASK_SUFFIX
from metseg.formats.nifti import maps
from metseg.formats.nifti.maps import ProbabilityWriter, read_mask, read_probability, restore_uploaded_grid
from metseg.imaging import Affine, Array, Float32Array, Mask, Spacing

__all__ = [
    "ArtefactFormat",
    "ProbabilityWriter",
    "read_mask",
    "read_probability",
    "restore_uploaded_grid",
    "write_mask",
    "write_probability",
    "write_zip",
]

ArtefactFormat = Literal["png", "tiff", "nifti", "zip"]
PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX = "_probability", "_uncertainty"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_mask(
    mask: Mask,
    names: Sequence[str],
    format: ArtefactFormat,
    *,
    spacing_mm: Spacing | None = None,
    affine: Affine | None = None,
) -> bytes:
    """Write a mask: 0 and 255 in images, 0 and 1 in NIfTI.

    Args:
        mask: bool, (slice, row, column).
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
    return _write_images(mask.astype(np.uint8) * 255, names, MASK_SUFFIX, format)


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
    if format == "png" and len(probability) > 1:
        raise NotAvailable("A PNG holds the probabilities of one slice only; ask for zip, tiff or nifti.")
    return _write_images(maps.quantise(probability), names, suffix, format)


def _write_images(images: Array, names: Sequence[str], suffix: str, format: str) -> bytes:
    if format != "zip":
        return _write_pages(images, format)
    files = zip(names, images, strict=True)
    return write_zip((f"{name}{suffix}.png", _encode(image[np.newaxis], "PNG")) for name, image in files)


def _write_pages(images: Array, format: str) -> bytes:
    if format == "png":
        return _encode(images, "PNG")
    if format == "tiff":
        return _encode(images, "TIFF", compression="tiff_adobe_deflate")
    raise NotAvailable(f"There is no such format for this artefact; ask for {', '.join(get_args(ArtefactFormat))}.")


def _encode(images: Array, format: str, **options: str) -> bytes:
    first, *others = map(Image.fromarray, images)
    target = BytesIO()
    first.save(target, format, save_all=bool(others), append_images=others, **options)
    return target.getvalue()


def write_zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Write files, by name, into a ZIP one after the other; equal input gives equal bytes."""
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        for name, data in files:
            archive.writestr(ZipInfo(name, ZIP_EPOCH), data)  # stored: a PNG is compressed already
    return target.getvalue()

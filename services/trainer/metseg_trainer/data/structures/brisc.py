"""BRISC: single slices of post-contrast T1 with masks of tumours; `images/`, `masks/` and an `index.csv`."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg.errors import DatasetError
from metseg.imaging import Mask, UInt8Array, Volume

__all__ = ["BriscSlice", "read_brisc_index", "read_brisc_slice"]

COLUMNS = {"name", "tumour", "plane", "side"}


@dataclass(frozen=True)
class BriscSlice:
    """A row of the index.

    Attributes:
        name: of the files `images/<name>.png` and `masks/<name>.png`.
        tumour: `glioma`, `meningioma` or `pituitary`.
        plane: `axial`, `coronal` or `sagittal`.
        side: `train` or `validation`. The published test split leaks, so this column replaces it.
    """

    name: str
    tumour: str
    plane: str
    side: str


def read_brisc_index(folder: Path, side: str) -> list[BriscSlice]:
    """The slices of one side.

    Args:
        folder: of the data set, unpacked.
        side: `train` or `validation`.

    Returns:
        At least one, in the order of the index.

    Raises:
        DatasetError: the index is missing or lacks a column, or no slice is on that side.
    """
    try:
        with (folder / "index.csv").open(newline="") as file:
            reader = csv.DictReader(file)
            missing = COLUMNS.difference(reader.fieldnames or ())
            rows = [] if missing else [{name: row[name] for name in COLUMNS} for row in reader]
    except OSError as error:
        raise DatasetError(f"{folder / 'index.csv'} cannot be read: {error.strerror}.") from error
    if missing:
        raise DatasetError(f"{folder / 'index.csv'} lacks the column {', '.join(sorted(missing))}.")
    slices = [BriscSlice(**row) for row in rows if row["side"] == side]
    if not slices:
        raise DatasetError(f"{folder / 'index.csv'} has no slice whose side is {side}.")
    return slices


def read_brisc_slice(folder: Path, name: str) -> tuple[Volume, Mask]:
    """Read a slice and the mask of its tumour.

    Args:
        folder: of the data set, unpacked.
        name: from the index.

    Returns:
        The slice in all three channels, as a grey upload is read, and its mask, bool, (1, row, column).

    Raises:
        DatasetError: a file is missing, cannot be decoded or has another size.
    """
    grey, mask = _grey(folder / "images" / f"{name}.png"), _grey(folder / "masks" / f"{name}.png") > 127
    if grey.shape != mask.shape:
        raise DatasetError(f"The mask of {name} has another size than its image.")
    pixels = np.repeat(grey[None, ..., None], 3, axis=-1)
    return Volume(pixels, (name,), present=(False, False, True)), np.asarray(mask[None], np.bool_)


def _grey(path: Path) -> UInt8Array:
    try:
        with Image.open(path) as image:
            pixels: npt.NDArray[Any] = np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path} cannot be read as an image.") from error
    return pixels

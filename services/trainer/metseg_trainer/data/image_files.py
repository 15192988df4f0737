"""Reading the files of a training folder: images as the worker reads uploads, and masks."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg import formats
from metseg.contracts import Role
from metseg.errors import BadInput, DatasetError
from metseg.imaging import Mask

__all__ = ["read_mask", "reason", "uploads"]


def uploads(paths: Sequence[Path], role: Role | None = None) -> list[formats.Upload]:
    """Upload files in this order, whatever their names.

    Args:
        paths: of the files.
        role: of the sequence that they hold, where it is known.

    Returns:
        One upload for each.
    """
    return [
        formats.Upload(f"{index:06d}{path.suffix}", BytesIO(path.read_bytes()), role)
        for index, path in enumerate(paths)
    ]


def reason(error: BadInput | OSError) -> str:
    """Why a file cannot be read."""
    return error.detail if isinstance(error, BadInput) else error.strerror or type(error).__name__


def read_mask(path: Path) -> Mask:
    """A mask from an image file: nonzero pixels are lesion; in a JPEG, pixels brighter than half.

    Raises:
        DatasetError: the file cannot be decoded or has several pages.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise DatasetError("several pages in one file; write one mask per file")
            levels: npt.NDArray[np.generic] = np.asarray(image)
            lossy = image.format == "JPEG"
            colours = len(image.getbands()) - ("A" in image.getbands())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError("not an image that can be decoded") from error
    lesion: Mask = np.greater(levels, 127 if lossy else 0)
    if lesion.ndim == 2:
        return lesion
    anywhere: Mask = np.any(lesion[..., :colours], axis=-1)
    return anywhere

"""Masks from image files."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg.errors import DatasetError
from metseg.imaging import Mask

__all__ = ["read_mask"]


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

"""Whether a JPEG has the data of all its rows: libjpeg fills what is missing with grey, and does not report it."""

import re
from io import BytesIO

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

__all__ = ["is_complete", "with_more_data"]

MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of those followed by a length, and of the end
END = 0xD9
MORE_DATA = bytes(range(1, 251)) * 16


def with_more_data(data: bytes) -> bytes:
    """A JPEG with more data before its end, which change the pixels only if data were missing."""
    end = 2
    while (marker := MARKER.search(data, end)) and marker[0][1] != END:
        end = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    end = marker.start() if marker else len(data)
    return data[:end] + MORE_DATA + data[end:]


def is_complete(data: bytes) -> bool:
    """Whether no data are missing; it raises what Pillow does if the JPEG is damaged otherwise."""
    pixels, others = (np.asarray(JpegImageFile(BytesIO(each))) for each in (data, with_more_data(data)))
    return np.array_equal(pixels, others)

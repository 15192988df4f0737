"""Small real files for the tests of formats."""

import io
import struct
import zipfile
import zlib

import cv2
import numpy as np
import tifffile
from PIL import Image

from metseg.formats import Upload
from metseg.settings import Limits

LIMITS = Limits()
MODES = {"uint8": np.uint8, "uint16": np.uint16, "float32": np.float32}


def noise(*shape, dtype="uint8", seed=0):
    """Values over the whole range of the type."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.random(shape) * 1000 - 300).astype(dtype)
    span = np.iinfo(dtype)
    return rng.integers(span.min, span.max, shape, dtype=dtype, endpoint=True)


def pillow(image, format="PNG", **options):
    target = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(target, format, **options)
    return target.getvalue()


def png(pixels=None, **options):
    return pillow(noise(20, 24) if pixels is None else pixels, **options)


def deep_png(pixels):
    """A PNG of 16 bits and several samples, which Pillow cannot write."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[-1]]
    return cv2.imencode(".png", pixels[..., order])[1].tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(columns, rows, bits=8, colour=0):
    """The first bytes of a PNG, without pixels."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0))


def tiff(pixels, **options):
    target = io.BytesIO()
    default = "rgb" if pixels.ndim > 2 and pixels.shape[-1] in (3, 4) else "minisblack"
    tifffile.imwrite(target, pixels, **{"photometric": default, **options})
    return target.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return target.getvalue()


def upload(data, name="x.png", role=None):
    return Upload(name, io.BytesIO(data), role)


def uploads(**files):
    return [upload(data, f"{name}.png") for name, data in files.items()]

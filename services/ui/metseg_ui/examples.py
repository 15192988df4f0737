"""Example scans: procedural heads with lesions, for a visitor without data. No patient is in them."""

import io
import zipfile
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg import phantom
from metseg.volume import Volume

SLICES = 24


class Example(NamedTuple):
    """A head that can be had at one click."""

    title: str
    words: str
    seed: int
    lesions: int


EXAMPLES = (
    Example("One large lesion", "a single mass with oedema around it", seed=11, lesions=1),
    Example("Many small lesions", "as metastases often are: scattered, some a few pixels wide", seed=23, lesions=9),
    Example("No lesion", "a healthy head, to see what the model makes of it", seed=31, lesions=0),
)


def scan(example: Example) -> Volume:
    """The head itself; the same seed gives the same pixels."""
    return phantom.head(example.seed, slices=SLICES, lesions=example.lesions).volume


def archive(example: Example) -> bytes:
    """The head as a reader would upload it: a ZIP of PNG slices, pre-contrast, FLAIR and post-contrast as colours."""
    volume = scan(example)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as slices:
        for index, pixels in enumerate(volume.pixels):
            slices.writestr(f"example_{index + 1:02d}.png", _png(np.asarray(pixels, np.uint8)))
    return packed.getvalue()


def preview(example: Example) -> bytes:
    """A PNG of the FLAIR slice that shows most of the lesions, or of the middle one."""
    head = phantom.head(example.seed, slices=SLICES, lesions=example.lesions)
    areas = head.mask.sum(axis=(1, 2))
    index = int(areas.argmax()) if areas.any() else SLICES // 2
    return _png(np.asarray(head.volume.pixels[index, :, :, 1], np.uint8))


def by_seed(seed: int) -> Example:
    """The example of that seed, which names it in caches."""
    return next(example for example in EXAMPLES if example.seed == seed)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return stored.getvalue()

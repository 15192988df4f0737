"""Example scans: procedural heads with lesions, for a visitor without data. No patient is in them."""

import io
import zipfile
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg import phantom

SLICES = 16


class Example(NamedTuple):
    """A head that can be had at one click."""

    title: str
    words: str
    seed: int
    lesions: int


class Drawing(NamedTuple):
    """A drawn example.

    Attributes:
        archive: as a reader would upload it: a ZIP of PNG slices whose colours are pre-contrast, FLAIR, post-contrast.
        preview: a PNG of the FLAIR slice that shows most, or of the middle one.
    """

    archive: bytes
    preview: bytes


EXAMPLES = (
    Example("One large lesion", "A single mass with oedema around it.", seed=47, lesions=1),
    Example("Many small lesions", "As metastases often are: many, some a few pixels wide.", seed=60, lesions=9),
    Example("No lesion", "A healthy head: does the model leave it alone?", seed=31, lesions=0),
)


def draw(example: Example) -> Drawing:
    """Draw an example; the same seed gives the same pixels."""
    head = phantom.head(example.seed, slices=SLICES, lesions=example.lesions)
    pixels = np.asarray(head.volume.pixels, np.uint8)
    areas = head.mask.sum(axis=(1, 2))
    best = int(areas.argmax()) if areas.any() else SLICES // 2
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for index, one in enumerate(pixels):
            archive.writestr(f"example_{index + 1:02d}.png", _png(one))
    return Drawing(packed.getvalue(), _png(pixels[best, :, :, 1]))


def by_seed(seed: int) -> Example:
    """The example of that seed, which names it in caches."""
    return next(example for example in EXAMPLES if example.seed == seed)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return stored.getvalue()

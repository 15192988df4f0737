"""Training examples for the classifier of sequences: a slice, its class, and what hospitals do to slices."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from metseg.imaging import ROLES, Array
from metseg.inference import SequenceClass, extract_head
from metseg_trainer.data.sequences.impostors import imitate_other, imitate_t2
from metseg_trainer.data.sequences.pool import HeadSlice

__all__ = ["Example", "distort", "make_examples"]

STRIPPED = 0.4
"""How many of the distorted slices whose brain is known lose their skull."""
MIN_BRAIN_SHARE = 0.15
"""Of a slice: with less brain it is left as it is."""


class Example(NamedTuple):
    """One example.

    Attributes:
        name: its class.
        source: of the slice, as in `HeadSlice`.
        patient: of the slice.
        variant: `plain`, `stripped` (of its skull) or `distorted`.
        head: float16, (row, column), as the classifier sees it.
    """

    name: SequenceClass
    source: str
    patient: str
    variant: str
    head: Array


def make_examples(slices: Iterable[HeadSlice], seed: int, distorted: int = 1) -> Iterator[Example]:
    """Make examples of all classes.

    Args:
        slices: that they are made from.
        seed: of all draws.
        distorted: how many distorted examples each sequence of a slice gives, in addition to the plain one.

    Yields:
        Examples in the order of the slices; of T2 and of other pictures there are imitations.
    """
    rng = np.random.default_rng(seed)
    for one in slices:
        for name, variant, image in _pictures(one, rng, distorted):
            head = extract_head(image)
            if head is not None:
                yield Example(name, one.source, one.patient, variant, head.astype(np.float16))


def _pictures(one: HeadSlice, rng: np.random.Generator, distorted: int) -> Iterator[tuple[SequenceClass, str, Array]]:
    has_brain = bool(one.brain.mean() > MIN_BRAIN_SHARE)
    for role, present in zip(ROLES, one.present, strict=True):
        if not present:
            continue
        image = one.pixels[..., ROLES.index(role)].astype(np.float32) / 255
        yield role, "plain", image
        if has_brain:
            yield role, "stripped", image * one.brain
        for _ in range(distorted):
            is_stripped = has_brain and rng.random() < STRIPPED
            yield role, "distorted", distort(image * one.brain if is_stripped else image, rng)
    if all(one.present[:2]) and has_brain:
        image = imitate_t2(one, rng)
        yield "t2", "plain", image
        yield "t2", "distorted", distort(image * one.brain if rng.random() < STRIPPED else image, rng)
    yield "other", "plain", imitate_other(one, rng)
    yield "other", "distorted", distort(imitate_other(one, rng), rng)


def distort(image: Array, rng: np.random.Generator) -> Array:
    """What hospitals, exports and users do to a slice; the image itself must be in [0, 1], (row, column).

    Args:
        image: float32.
        rng: draws what happens.

    Returns:
        float32, of another size and another range of values.
    """
    image = _turned(image, rng)
    image = _resampled(image, rng)
    image = _shaded(image, rng)
    if rng.random() < 0.5:  # a window on the screen
        low, high = rng.uniform(0, 0.06), rng.uniform(0.6, 1.0)
        image = ((image - low) / (high - low)).clip(0, 1)
    image = image.clip(0, None) ** np.float32(np.exp(rng.normal(0, 0.22)))
    if rng.random() < 0.5:
        noise = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(rng.uniform(0.005, 0.05))
        image = np.hypot(image + noise[0], noise[1])
    if rng.random() < 0.15:
        equaliser = cv2.createCLAHE(float(rng.uniform(1, 3)), (4, 4))
        image = equaliser.apply((image.clip(0, 1) * 255).astype(np.uint8)).astype(np.float32) / 255
    if rng.random() < 0.3:
        levels = (image / max(float(image.max()), 1e-6) * 255).clip(0, 255).astype(np.uint8)
        _, stored = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])
        image = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.float32) / 255
    return np.asarray(image, np.float32)


def _turned(image: Array, rng: np.random.Generator) -> Array:
    """Mirrored, turned by quarters or a little, stretched, in a frame of air or cropped."""
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.2:
        image = image[::-1]
    if rng.random() < 0.15:
        image = np.rot90(image, rng.choice([1, 3]))
    rows, columns = image.shape
    side = int(max(rows, columns) * rng.uniform(1.05, 1.5))
    angle, scale = rng.normal(0, 8), rng.uniform(0.9, 1.1)
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), angle, 1.0)
    matrix[0] *= scale
    matrix[0, 2] += side / 2 - scale * columns / 2
    matrix[1, 2] += side / 2 - rows / 2
    turned = cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), flags=cv2.INTER_LINEAR)
    if rng.random() < 0.15:  # the field of view cuts the head
        cut = int(side * rng.uniform(0.1, 0.3))
        turned = [turned[cut:], turned[:-cut], turned[:, cut:], turned[:, :-cut]][rng.integers(4)]
    return np.asarray(turned, np.float32)


def _resampled(image: Array, rng: np.random.Generator) -> Array:
    """To other pixels, coarse ones too, or blurred."""
    if rng.random() < 0.35:
        factor = rng.uniform(0.35, 1.0)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR) if rng.random() < 0.6 else small
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    elif rng.random() < 0.15:
        image = (image + rng.uniform(0.3, 1.0) * (image - cv2.GaussianBlur(image, (0, 0), 1.2))).clip(0, None)
    return np.asarray(image, np.float32)


def _shaded(image: Array, rng: np.random.Generator) -> Array:
    """The shading of a coil."""
    field = cv2.resize(rng.normal(0, rng.uniform(0.02, 0.25), (3, 3)).astype(np.float32), image.shape[::-1])
    return np.asarray(image * np.exp(cv2.resize(field, image.shape[::-1], interpolation=cv2.INTER_CUBIC)), np.float32)

"""Pictures that are none of the three sequences: T2 and others, made from slices whose sequences are known.

Real ones are not in the public data, so these are imitations: a T2 has bright fluid, grey matter brighter than white
and dark bone; a CT has a bright ring of bone around a flat brain; a map of diffusion has no skull; and so on.
"""

import cv2
import numpy as np

from metseg.imaging import FLAIR, POST, PRE, Array, Mask
from metseg_trainer.data.sequences.pool import HeadSlice

__all__ = ["imitate_other", "imitate_t2"]

SOFT_PX = 1.5
SMALLEST = 1e-6
BONE_PX = 9


def imitate_t2(one: HeadSlice, rng: np.random.Generator) -> Array:
    """A T2 of a slice with a T1.

    Args:
        one: a slice with pre-contrast T1, FLAIR and the brain's mask.
        rng: draws its contrast.

    Returns:
        float32 in [0, 1], (row, column).
    """
    t1, flair = _scaled(one.pixels[..., PRE], one.brain), _scaled(one.pixels[..., FLAIR], one.brain)
    fluid = np.clip((rng.uniform(0.35, 0.5) - t1) / 0.3, 0, 1) * (1 - flair).clip(0, 1)
    tissue = rng.uniform(0.75, 0.95) - rng.uniform(0.35, 0.6) * t1 + rng.uniform(0.1, 0.35) * (flair - 0.5)
    inside = tissue.clip(0.05, None) + rng.uniform(0.3, 0.8) * fluid
    outside = rng.uniform(0.3, 0.9) * _scaled(one.pixels[..., FLAIR], None)
    share = cv2.GaussianBlur(one.brain.astype(np.float32), (0, 0), SOFT_PX)
    return _unit(share * inside + (1 - share) * outside)


def imitate_other(one: HeadSlice, rng: np.random.Generator) -> Array:
    """Any other picture.

    Args:
        one: a slice.
        rng: draws what it becomes.

    Returns:
        float32 in [0, 1], (row, column).
    """
    kinds = [_negative, _negative_head, _labels, _texture, _edges, _shapes, _shuffled]
    if one.brain.any():
        kinds += [_computed_tomography, _diffusion, _computed_tomography, _diffusion, _brain_mask]
    if all(one.present):
        kinds += [_subtraction, _angiography]
    return _unit(kinds[rng.integers(len(kinds))](one, rng))


def _grey(one: HeadSlice, rng: np.random.Generator) -> Array:
    channels = np.flatnonzero(one.present)
    return _scaled(one.pixels[..., rng.choice(channels)], None)


def _scaled(pixels: Array, inside: Mask | None) -> Array:
    """Between two percentiles of a region; (row, column)."""
    values = pixels[inside] if inside is not None and inside.any() else pixels
    low, high = np.percentile(values, (1, 99))
    return np.asarray(((pixels.astype(np.float32) - low) / max(high - low, 1)).clip(0, 1), np.float32)


def _unit(image: Array) -> Array:
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - low) / max(high - low, SMALLEST), np.float32)


def _negative(one: HeadSlice, rng: np.random.Generator) -> Array:
    return 1 - _grey(one, rng)


def _negative_head(one: HeadSlice, rng: np.random.Generator) -> Array:
    grey = _grey(one, rng)
    return np.asarray(np.where(_filled(grey), 1 - grey, 0), np.float32)


def _filled(grey: Array) -> Mask:
    """The head without holes."""
    mask = (grey > 0.08).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED) > 0)


def _labels(one: HeadSlice, rng: np.random.Generator) -> Array:
    """A map of two to five labels."""
    levels = int(rng.integers(2, 6))
    smooth = cv2.GaussianBlur(_grey(one, rng), (0, 0), float(rng.uniform(1, 6)))
    labels = np.digitize(smooth, np.quantile(smooth, np.sort(rng.uniform(0.2, 0.95, levels - 1))))
    return np.asarray(rng.permutation(levels)[labels], np.float32)


def _brain_mask(one: HeadSlice, rng: np.random.Generator) -> Array:
    return cv2.GaussianBlur(one.brain.astype(np.float32), (0, 0), float(rng.uniform(0.5, 3)))


def _computed_tomography(one: HeadSlice, rng: np.random.Generator) -> Array:
    """Bone is bright and brain nearly flat."""
    grey = _grey(one, rng)
    brain, head = one.brain.astype(np.uint8), _filled(grey).astype(np.uint8)
    width = int(rng.integers(BONE_PX // 2, BONE_PX + 3))
    near = cv2.dilate(brain, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1)))
    bone = ((near > brain) & (head > 0)).astype(np.float32)
    soft = rng.uniform(0.2, 0.5) + rng.uniform(-0.12, 0.12) * cv2.GaussianBlur(grey, (0, 0), 2)
    image = np.where(head > 0, soft, 0) * (1 - bone) + bone * rng.uniform(0.85, 1.0)
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), float(rng.uniform(0.4, 1.2)))


def _diffusion(one: HeadSlice, rng: np.random.Generator) -> Array:
    """A map of diffusion: no skull, flat tissue, fluid very bright or very dark, coarse."""
    grey = _scaled(one.pixels[..., int(np.flatnonzero(one.present)[0])], one.brain)
    fluid = np.clip((0.45 - grey) / 0.3, 0, 1)
    bright = rng.random() < 0.6
    tissue = rng.uniform(0.25, 0.4) + rng.uniform(-0.1, 0.1) * grey
    image = np.where(one.brain, tissue + (0.6 if bright else -0.3) * fluid, 0).astype(np.float32)
    factor = rng.uniform(0.3, 0.6)
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _subtraction(one: HeadSlice, rng: np.random.Generator) -> Array:
    """Post-contrast less pre-contrast."""
    post, pre = (_scaled(one.pixels[..., channel], None) for channel in (POST, PRE))
    return np.abs(post - pre) if rng.random() < 0.5 else post - pre


def _angiography(one: HeadSlice, rng: np.random.Generator) -> Array:
    """Vessels on a dark brain."""
    post = _scaled(one.pixels[..., POST], None)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    vessels = cv2.morphologyEx(post, cv2.MORPH_TOPHAT, kernel)
    return (vessels + rng.uniform(0.05, 0.2) * cv2.GaussianBlur(post, (0, 0), 3)).astype(np.float32)


def _edges(one: HeadSlice, rng: np.random.Generator) -> Array:
    grey = _grey(one, rng)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def _texture(one: HeadSlice, rng: np.random.Generator) -> Array:
    """Noise whose power falls with frequency, as in photographs, or is flat; in the head's outline or everywhere."""
    rows, columns = one.pixels.shape[:2]
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None]) + 1 / max(rows, columns)
    noise = np.fft.fft2(rng.standard_normal((rows, columns))) / frequency ** rng.uniform(0, 1.6)
    image = _unit(np.fft.ifft2(noise).real.astype(np.float32))
    return image * _filled(_grey(one, rng)) if rng.random() < 0.5 else image


def _shapes(one: HeadSlice, rng: np.random.Generator) -> Array:
    """Ellipses and boxes of a few brightnesses."""
    rows, columns = one.pixels.shape[:2]
    image = np.full((rows, columns), rng.uniform(0, 0.3), np.float32)
    for _ in range(rng.integers(1, 12)):
        centre = int(rng.integers(columns)), int(rng.integers(rows))
        axes = int(rng.integers(3, columns // 2)), int(rng.integers(3, rows // 2))
        if rng.random() < 0.6:
            cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0, 1)), cv2.FILLED)
        else:
            far = centre[0] + axes[0], centre[1] + axes[1]
            cv2.rectangle(image, centre, far, float(rng.uniform(0, 1)), cv2.FILLED)
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 3)))


def _shuffled(one: HeadSlice, rng: np.random.Generator) -> Array:
    """The parts of a slice in another order."""
    grey, parts = _grey(one, rng), int(rng.integers(2, 6))
    rows = list(np.array_split(np.arange(grey.shape[0]), parts))
    columns = list(np.array_split(np.arange(grey.shape[1]), parts))
    rng.shuffle(rows)
    rng.shuffle(columns)
    return grey[np.concatenate(rows)][:, np.concatenate(columns)]

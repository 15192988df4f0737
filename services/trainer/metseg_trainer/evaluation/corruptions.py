"""Shifts: what a scan may have gone through on its way, done to it on purpose to see what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging import Volume
from metseg_trainer.data.skull_stripping import brain_mask, strip

__all__ = ["SHIFTS", "Shift"]

Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Study = tuple[Volume, Mask]

FLAIR = 1
SEED = 2026


@dataclass(frozen=True)
class Shift:
    """A change: what it is called, and what it makes of a study and its truth; neither is changed in place."""

    title: str
    apply: Callable[[Volume, Mask], Study]


def _eight_bits(volume: Volume) -> Pixels:
    """The study in 8 bits, which most exports have: its own if it has them, else stretched over its range."""
    pixels = volume.pixels
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    return np.asarray(np.rint((pixels.astype(np.float32) - low) / (high - low) * 255), np.uint8)


def _flair_only(volume: Volume, truth: Mask) -> Study:
    return replace(volume, pixels=np.repeat(volume.pixels[..., FLAIR : FLAIR + 1], 3, axis=-1)), truth


def _jpeg(quality: int, volume: Volume, truth: Mask) -> Study:
    slices = [_through_jpeg(one, quality) for one in _eight_bits(volume)]
    return replace(volume, pixels=np.stack(slices)), truth


def _through_jpeg(one: Pixels, quality: int) -> npt.NDArray[Any]:
    _, encoded = cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _resized(side: int, volume: Volume, truth: Mask) -> Study:
    """Every slice as a square of `side` pixels; the truth is where at least half of a pixel was."""
    rows, columns = volume.shape[1:]
    way = cv2.INTER_AREA if side < max(rows, columns) else cv2.INTER_CUBIC
    pixels = np.stack([cv2.resize(one, (side, side), interpolation=way) for one in _eight_bits(volume)])
    covered = [cv2.resize(one.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) for one in truth]
    spacing = volume.spacing_mm
    if spacing is not None:
        spacing = (spacing[0], spacing[1] * rows / side, spacing[2] * columns / side)
    return replace(volume, pixels=pixels, spacing_mm=spacing, affine=None), np.stack(covered) >= 0.5


def _rotated(degrees: float, volume: Volume, truth: Mask) -> Study:
    rows, columns = volume.shape[1:]
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    pixels = np.stack([cv2.warpAffine(one, turn, (columns, rows)) for one in _eight_bits(volume)])
    covered = [cv2.warpAffine(one.astype(np.float32), turn, (columns, rows)) for one in truth]
    return replace(volume, pixels=pixels, affine=None), np.stack(covered) >= 0.5


def _gamma(exponent: float, volume: Volume, truth: Mask) -> Study:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return replace(volume, pixels=table[_eight_bits(volume)]), truth


def _noise(share: float, volume: Volume, truth: Mask) -> Study:
    """Gaussian noise of a share of the study's 99th percentile."""
    pixels = _eight_bits(volume).astype(np.float32)
    noise = np.random.default_rng(SEED).standard_normal(pixels.shape, np.float32)
    noisy = pixels + noise * np.float32(share * np.percentile(pixels, 99))
    return replace(volume, pixels=np.rint(noisy.clip(0, 255)).astype(np.uint8)), truth


def _cut(percentile: float, volume: Volume, truth: Mask) -> Study:
    """Each channel's brightest pixels all white, as a window set too narrow makes them."""
    pixels = _eight_bits(volume).astype(np.float32)
    tops = [np.percentile(channel[channel > channel.mean() / 2], percentile) for channel in np.moveaxis(pixels, -1, 0)]
    cut = (pixels / np.maximum(np.array(tops, np.float32), 1)).clip(0, 1) * 255
    return replace(volume, pixels=np.rint(cut).astype(np.uint8)), truth


def _stripped(volume: Volume, truth: Mask) -> Study:
    """Without skull; a lesion that the brain's mask cuts off stays, since the truth lies in the brain."""
    return strip(volume, brain_mask(volume) | truth), truth


SHIFTS: dict[str, Shift] = {
    "flair-only": Shift("FLAIR alone, grey", _flair_only),
    "jpeg-75": Shift("JPEG, quality 75", partial(_jpeg, 75)),
    "512-px": Shift("512 x 512 pixels", partial(_resized, 512)),
    "180-px": Shift("180 x 180 pixels", partial(_resized, 180)),
    "rotated-15": Shift("turned by 15 degrees", partial(_rotated, 15.0)),
    "gamma-0.7": Shift("gamma 0.7", partial(_gamma, 0.7)),
    "gamma-1.4": Shift("gamma 1.4", partial(_gamma, 1.4)),
    "noise": Shift("noise of 5%", partial(_noise, 0.05)),
    "cut-98": Shift("brightness cut at the 98th percentile", partial(_cut, 98.0)),
    "stripped": Shift("skull taken away", _stripped),
}
"""By key; `lone-slices`, each slice submitted alone, is done by `evaluate`."""

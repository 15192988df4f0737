"""Corruptions: the effects of exports, scanners and preparations on scans, applied to measure their cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging import FLAIR, POST, PRE, Mask, Present, UInt8Array, Volume
from metseg_trainer.data import brain_mask, strip_skull

__all__ = ["CORRUPTIONS", "SINGLE_SLICES", "SINGLE_SLICES_TITLE", "Corruption", "show_only"]

VolumeAndTruth = tuple[Volume, Mask]

SEED = 2026
SINGLE_SLICES, SINGLE_SLICES_TITLE = "lone-slices", "each slice alone"
"""Key and title of the corruption in `evaluate_model` itself: each slice submitted alone."""


@dataclass(frozen=True)
class Corruption:
    """A title, and a function from a study and its truth to changed copies."""

    title: str
    apply: Callable[[Volume, Mask], VolumeAndTruth]


def _eight_bits(volume: Volume) -> UInt8Array:
    """The study in 8 bits, as most exports are: unchanged if it has 8 bits, otherwise rescaled from its range."""
    pixels = volume.pixels
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    return np.asarray(np.rint((pixels.astype(np.float32) - low) / (high - low) * 255), np.uint8)


def show_only(volume: Volume, *channels: int) -> Volume:
    """Some sequences, with the first of FLAIR, post- and pre-contrast T1 among them in place of the others.

    That is how a study without the others, such as a grey upload, is read.

    Args:
        volume: a study.
        channels: of the sequences.

    Returns:
        A study of these sequences; one without any of them is unchanged.
    """
    pre, flair, post = (each in channels and is_present for each, is_present in enumerate(volume.present))
    present: Present = (pre, flair, post)
    if not any(present):
        return volume
    copied = next(channel for channel in (FLAIR, POST, PRE) if present[channel])
    order = [channel if is_present else copied for channel, is_present in enumerate(present)]
    return replace(volume, pixels=volume.pixels.take(order, axis=-1), present=present)


def _only(*channels: int) -> Callable[[Volume, Mask], VolumeAndTruth]:
    return lambda volume, truth: (show_only(volume, *channels), truth)


def _jpeg(quality: int, volume: Volume, truth: Mask) -> VolumeAndTruth:
    slices = [_through_jpeg(one, quality) for one in _eight_bits(volume)]
    return replace(volume, pixels=np.stack(slices)), truth


def _through_jpeg(one: UInt8Array, quality: int) -> npt.NDArray[Any]:
    _, encoded = cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _resized(side: int, volume: Volume, truth: Mask) -> VolumeAndTruth:
    """Every slice as a square of `side` pixels; the truth is where at least half of a pixel was."""
    rows, columns = volume.shape[1:]
    way = cv2.INTER_AREA if side < max(rows, columns) else cv2.INTER_CUBIC
    pixels = np.stack([cv2.resize(one, (side, side), interpolation=way) for one in _eight_bits(volume)])
    covered = [cv2.resize(one.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) for one in truth]
    spacing = volume.spacing_mm
    if spacing is not None:
        spacing = (spacing[0], spacing[1] * rows / side, spacing[2] * columns / side)
    return replace(volume, pixels=pixels, spacing_mm=spacing, affine=None), np.stack(covered) >= 0.5


def _rotated(degrees: float, volume: Volume, truth: Mask) -> VolumeAndTruth:
    rows, columns = volume.shape[1:]
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    pixels = np.stack([cv2.warpAffine(one, turn, (columns, rows)) for one in _eight_bits(volume)])
    covered = [cv2.warpAffine(one.astype(np.float32), turn, (columns, rows)) for one in truth]
    return replace(volume, pixels=pixels, affine=None), np.stack(covered) >= 0.5


def _gamma(exponent: float, volume: Volume, truth: Mask) -> VolumeAndTruth:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return replace(volume, pixels=table[_eight_bits(volume)]), truth


def _noise(share: float, volume: Volume, truth: Mask) -> VolumeAndTruth:
    """Gaussian noise of a share of the study's 99th percentile."""
    pixels = _eight_bits(volume).astype(np.float32)
    noise = np.random.default_rng(SEED).standard_normal(pixels.shape, np.float32)
    noisy = pixels + noise * np.float32(share * np.percentile(pixels, 99))
    return replace(volume, pixels=np.rint(noisy.clip(0, 255)).astype(np.uint8)), truth


def _cut(percentile: float, volume: Volume, truth: Mask) -> VolumeAndTruth:
    """Each channel's brightest pixels white, as by a window that is too narrow."""
    pixels = _eight_bits(volume).astype(np.float32)
    tops = [np.percentile(channel[channel > channel.mean() / 2], percentile) for channel in np.moveaxis(pixels, -1, 0)]
    cut = (pixels / np.maximum(np.array(tops, np.float32), 1)).clip(0, 1) * 255
    return replace(volume, pixels=np.rint(cut).astype(np.uint8)), truth


def _stripped(volume: Volume, truth: Mask) -> VolumeAndTruth:
    """Without skull; a lesion that the brain mask misses stays."""
    return strip_skull(volume, brain_mask(volume) | truth), truth


CORRUPTIONS: dict[str, Corruption] = {
    "flair-only": Corruption("FLAIR alone, grey", _only(FLAIR)),
    "post-only": Corruption("post-contrast T1 alone, grey", _only(POST)),
    "pre-only": Corruption("pre-contrast T1 alone, grey", _only(PRE)),
    "flair-and-post": Corruption("FLAIR and post-contrast T1", _only(FLAIR, POST)),
    "pre-and-post": Corruption("pre- and post-contrast T1", _only(PRE, POST)),
    "pre-and-flair": Corruption("pre-contrast T1 and FLAIR", _only(PRE, FLAIR)),
    "jpeg-75": Corruption("JPEG, quality 75", partial(_jpeg, 75)),
    "512-px": Corruption("512 x 512 pixels", partial(_resized, 512)),
    "180-px": Corruption("180 x 180 pixels", partial(_resized, 180)),
    "rotated-15": Corruption("turned by 15 degrees", partial(_rotated, 15.0)),
    "gamma-0.7": Corruption("gamma 0.7", partial(_gamma, 0.7)),
    "gamma-1.4": Corruption("gamma 1.4", partial(_gamma, 1.4)),
    "noise": Corruption("noise of 5%", partial(_noise, 0.05)),
    "cut-98": Corruption("brightness cut at the 98th percentile", partial(_cut, 98.0)),
    "stripped": Corruption("skull taken away", _stripped),
}
"""By key."""

"""Augmentation: changes to a slice as by another scanner, position or export."""

import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging import FLAIR, Float32Array, UInt8Array
from metseg_trainer.data.config import AugmentationConfig

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import looks for a newer version online

import albumentations

__all__ = ["LESION_LEVEL", "Augmentation", "drop_sequences", "transplant_lesion"]

LESION_LEVEL = 128
"""The truth from which a pixel counts as lesion."""
MIN_BRAIN_LEVEL = 25
"""No lesion is placed on FLAIR pixels darker than this, of 255."""


class Augmentation:
    """Random changes of one sample, drawn from a seed: the same seed gives the same sample.

    Args:
        patch_size: rows and columns of the result.
        config: ranges and probabilities.
    """

    def __init__(self, patch_size: tuple[int, int], config: AugmentationConfig) -> None:
        rows, columns = patch_size
        self._transform = albumentations.Compose(
            [
                albumentations.PadIfNeeded(rows, columns, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0),
                albumentations.HorizontalFlip(p=config.horizontal_flip_p),
                albumentations.VerticalFlip(p=config.vertical_flip_p),
                albumentations.Affine(
                    scale=config.scale,
                    rotate=config.rotate_degrees,
                    translate_percent=config.translate_percent,
                    border_mode=0,
                    p=config.affine_p,
                ),
                albumentations.ElasticTransform(
                    alpha=config.elastic_alpha, sigma=config.elastic_sigma, border_mode=0, p=config.elastic_p
                ),
                albumentations.RandomCrop(rows, columns),
                albumentations.RandomBrightnessContrast(
                    brightness_limit=config.brightness_limit,
                    contrast_limit=config.contrast_limit,
                    p=config.brightness_contrast_p,
                ),
                albumentations.RandomGamma(gamma_limit=config.gamma_limit, p=config.gamma_p),
                albumentations.OneOf(
                    [
                        albumentations.GaussianBlur(blur_limit=(3, 3), sigma_limit=config.blur_sigma),
                        albumentations.Downscale(scale_range=config.downscale),
                        albumentations.ImageCompression(quality_range=config.jpeg_quality),
                    ],
                    p=config.degrade_p,
                ),
                albumentations.GaussNoise(std_range=config.noise_std, p=config.noise_p),
            ]
        )

    def __call__(self, pixels: UInt8Array, truth: UInt8Array, seed: int) -> tuple[UInt8Array, UInt8Array]:
        """Change a sample.

        Args:
            pixels: uint8, (row, column, channel).
            truth: uint8, (row, column) or (row, column, plane): the share of each pixel that is lesion, 255 for all.
            seed: of all draws.

        Returns:
            Pixels and truth in the patch size.
        """
        self._transform.set_random_seed(seed)
        changed = self._transform(image=pixels, mask=truth)
        return changed["image"], changed["mask"]


def drop_sequences(values: npt.NDArray[Any], dropped: tuple[int, ...]) -> npt.NDArray[Any]:
    """Replace channels by FLAIR, as the data set and a grey upload fill missing sequences.

    Args:
        values: any shape, channels last.
        dropped: indices of the channels to replace.

    Returns:
        A copy of `values`.
    """
    filled = values.copy()
    filled[..., list(dropped)] = values[..., FLAIR, None]
    return filled


def transplant_lesion(
    pixels: UInt8Array,
    truth: UInt8Array,
    donor: Float32Array,
    lesion: UInt8Array,
    *,
    config: AugmentationConfig,
    random: np.random.Generator,
) -> tuple[UInt8Array, UInt8Array]:
    """Blend another patient's lesion into a slice that has none (after CarveMix, Zhang et al., MICCAI 2021).

    The lesion is flipped, rotated and scaled at random; where it would not be on brain, the slice is unchanged.

    Args:
        pixels: uint8, (row, column, channel).
        truth: uint8, the rows and columns of `pixels`.
        donor: the other patient's slice, (row, column, channel), in the levels of `pixels`; it may have another size.
        lesion: uint8, the donor's truth.
        config: ranges of the movement.
        random: draws the movement.

    Returns:
        Pixels and truth with the lesion, or unchanged.
    """
    rows, columns = lesion.shape
    move = cv2.getRotationMatrix2D(
        (columns / 2, rows / 2),
        random.uniform(*config.transplant_rotate_degrees),
        random.uniform(*config.transplant_scale),
    )
    centred = np.array([truth.shape[1] - columns, truth.shape[0] - rows]) / 2
    shift_px = config.transplant_shift_px
    move[:, 2] = move[:, 2] + centred + random.uniform(-shift_px, shift_px, 2)
    if random.random() < 0.5:
        donor, lesion = donor[:, ::-1], lesion[:, ::-1]
    size = (truth.shape[1], truth.shape[0])
    donor, lesion = (_warped(part, move, size) for part in (donor, lesion))
    inside = lesion >= LESION_LEVEL
    if not inside.any() or (pixels[..., FLAIR][inside] > MIN_BRAIN_LEVEL).mean() < 0.9:
        return pixels, truth
    alpha = cv2.GaussianBlur(cv2.dilate(lesion, np.ones((3, 3))).astype(np.float32) / 255, (0, 0), 1.0)[..., None]
    return np.rint((pixels * (1 - alpha) + donor * alpha).clip(0, 255)).astype(np.uint8), lesion


def _warped(part: npt.NDArray[Any], move: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return cv2.warpAffine(np.ascontiguousarray(part), move, size)

"""Augmentation: what a scanner, a patient's position or an export could have changed in a slice."""

import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the internet for its newest version

import albumentations

FLAIR = 1

Pixels = npt.NDArray[np.uint8]


class Augmentation:
    """Random changes of one sample, drawn from a seed: the same seed gives the same sample.

    Args:
        patch: rows and columns of what comes out.
    """

    def __init__(self, patch: tuple[int, int]) -> None:
        rows, columns = patch
        self._draw = albumentations.Compose(
            [
                albumentations.PadIfNeeded(rows, columns, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0),
                albumentations.HorizontalFlip(p=0.5),
                albumentations.VerticalFlip(p=0.1),
                albumentations.Affine(
                    scale=(0.8, 1.2), rotate=(-20, 20), translate_percent=(-0.05, 0.05), border_mode=0, p=0.8
                ),
                albumentations.ElasticTransform(alpha=20, sigma=6, border_mode=0, p=0.2),
                albumentations.RandomCrop(rows, columns),
                albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.25, p=0.5),
                albumentations.RandomGamma(gamma_limit=(70, 140), p=0.4),
                albumentations.OneOf(
                    [
                        albumentations.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.3, 0.9)),
                        albumentations.Downscale(scale_range=(0.6, 0.9)),
                        albumentations.ImageCompression(quality_range=(60, 95)),
                    ],
                    p=0.2,
                ),
                albumentations.GaussNoise(std_range=(0.01, 0.05), p=0.3),
            ]
        )

    def __call__(self, pixels: Pixels, truth: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        """Change a sample.

        Args:
            pixels: uint8, (row, column, channel).
            truth: uint8, (row, column): the share of each pixel that is lesion, 255 for all.
            seed: of every draw.
        """
        self._draw.set_random_seed(seed)
        changed = self._draw(image=pixels, mask=truth)
        return changed["image"], changed["mask"]


def drop_sequences(values: npt.NDArray[Any], dropped: tuple[int, ...]) -> npt.NDArray[Any]:
    """Replace channels (last axis) by FLAIR, as the data set and a grey upload fill missing sequences."""
    filled = values.copy()
    filled[..., list(dropped)] = values[..., FLAIR, None]
    return filled

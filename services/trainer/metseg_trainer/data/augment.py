"""Augmentation: what a scanner, a patient's position or an export could have changed in a slice."""

import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the internet for its newest version

import albumentations

FLAIR = 1
LESION = 128
"""From this truth on a pixel is more lesion than not."""
BRAIN_LEVEL = 25
"""What is darker on FLAIR, of 255, is no place for a lesion."""

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
                    scale=(0.75, 1.25), rotate=(-25, 25), translate_percent=(-0.06, 0.06), border_mode=0, p=0.8
                ),
                albumentations.ElasticTransform(alpha=20, sigma=6, border_mode=0, p=0.2),
                albumentations.RandomCrop(rows, columns),
                albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.5),
                albumentations.RandomGamma(gamma_limit=(60, 160), p=0.5),
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


def transplant(
    pixels: Pixels, truth: Pixels, donor: npt.NDArray[np.float32], lesion: Pixels, random: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Blend another patient's lesion into a slice that has none (after CarveMix, Zhang et al., MICCAI 2021).

    The lesion is mirrored, turned and scaled at random; where it would not lie on brain the slice stays as it is.

    Args:
        pixels: (row, column, channel), uint8.
        truth: of `pixels`, uint8.
        donor: the other patient's slice, in the levels of `pixels`; it may have another size.
        lesion: the donor's truth, uint8.
        random: draws the movement.
    """
    rows, columns = lesion.shape
    move = cv2.getRotationMatrix2D((columns / 2, rows / 2), random.uniform(-20, 20), random.uniform(0.7, 1.3))
    centred = np.array([truth.shape[1] - columns, truth.shape[0] - rows]) / 2
    move[:, 2] = move[:, 2] + centred + random.uniform(-8, 8, 2)
    if random.random() < 0.5:
        donor, lesion = donor[:, ::-1], lesion[:, ::-1]
    size = (truth.shape[1], truth.shape[0])
    donor, lesion = (_moved(part, move, size) for part in (donor, lesion))
    on = lesion >= LESION
    if not on.any() or (pixels[..., FLAIR][on] > BRAIN_LEVEL).mean() < 0.9:
        return pixels, truth
    soft = cv2.GaussianBlur(cv2.dilate(lesion, np.ones((3, 3))).astype(np.float32) / 255, (0, 0), 1.0)[..., None]
    return np.rint((pixels * (1 - soft) + donor * soft).clip(0, 255)).astype(np.uint8), lesion


def _moved(part: npt.NDArray[Any], move: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return cv2.warpAffine(np.ascontiguousarray(part), move, size)

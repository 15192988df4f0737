"""Out-of-distribution detection: how far a study lies from the training data of a model.

A study is described by a few dozen features of the model's input: how bright it is in each of 6x6 cells of the head, so
that a head upside down differs; shape, size and filling of its outline; quantiles of its brightness; the correlation
of its halves, left and right, front and back; how much it varies at three scales. The features are means over slices.
The distance from the training studies is Mahalanobis's with a shrunk covariance, as Lee et al. (NeurIPS 2018) detect
unknown input, here of plain features, which need no network. It does not separate heads that are upside down well
enough, so a second score says whether the study's mirror image, front for back, would be nearer. One sequence is looked
at, since the others may be missing: FLAIR where it was given, or else post-contrast T1, or pre-contrast T1.

The reference is a part of the model's card: means and a covariance, which identify no patient.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.contracts import OutOfDistribution, OutOfDistributionCard, OutOfDistributionReference, Role
from metseg.imaging import (
    HEAD_PX,
    ROLES,
    Array,
    Float32Array,
    Float64Array,
    Mask,
    ModelInput,
    Present,
    bounding_box,
    foreground_mask,
)

__all__ = [
    "FEATURES",
    "FEATURES_REVISION",
    "FLIPPED_ORDER",
    "detect_out_of_distribution",
    "extract_features",
    "flip_ratio",
    "mahalanobis_distance",
]

Floats = npt.NDArray[np.floating[Any]]

FEATURES_REVISION = 2
"""A card with features of another revision cannot be compared to those of this code."""
JUDGED_ORDER: tuple[Role, ...] = ("flair", "post", "pre")
"""The first of these sequences that a study has is looked at."""
CELLS = 6
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SCALES_PX = (1.0, 2.0, 4.0)
"""Of the texture, in reference pixels of 0.9 mm."""
MAX_SLICES = 24
"""Slices of a study, evenly spread, over which its features are averaged: more change little."""

FEATURES = (
    *(f"brightness in row {row} column {column} of {CELLS}" for row in range(CELLS) for column in range(CELLS)),
    "height over width",
    "size",
    "filling of its box",
    *(f"brightness, quantile {quantile}" for quantile in QUANTILES),
    "likeness of left and right",
    "likeness of front and back",
    *(f"texture at {scale:g} px" for scale in SCALES_PX),
)
"""The names of the features, in order."""
FLIPPED_ORDER = np.r_[np.arange(CELLS**2).reshape(CELLS, CELLS)[::-1].ravel(), CELLS**2 : len(FEATURES)]
"""The order of the features that makes them those of the mirror image: only the rows of cells are reversed."""


@dataclass(frozen=True, eq=False)
class _Slice:
    """One slice cropped to the head: one standardised sequence, and the head's mask."""

    level: Float32Array
    head: Mask


def detect_out_of_distribution(
    model_input: ModelInput, present: Present, card: OutOfDistributionCard | None, pixel_scale: float
) -> OutOfDistribution | None:
    """Compare a study with the training data of a model.

    Args:
        model_input: of the study.
        present: which sequences the study has.
        card: the references, from the model's card.
        pixel_scale: of the model's preprocessing.

    Returns:
        None where the card has no reference of a sequence that the study has, or features of another revision.
    """
    if card is None or card.revision != FEATURES_REVISION:
        return None
    role = next((role for role in JUDGED_ORDER if present[ROLES.index(role)] and role in card.sequences), None)
    if role is None:
        return None
    is_single_slice = len(model_input.pixels) == 1
    reference = card.sequences[role].lone_slices if is_single_slice else card.sequences[role].studies
    features = extract_features(model_input, role, pixel_scale)
    distance_score = mahalanobis_distance(features, reference) / reference.limit
    flip_score = flip_ratio(features, reference) / reference.turned_limit
    score = max(distance_score, flip_score)
    words = _words("slice" if is_single_slice else "study", score, flipped=flip_score > distance_score)
    return OutOfDistribution(score=score, unlike=score > 1, words=words)


def extract_features(model_input: ModelInput, role: Role, pixel_scale: float) -> Floats:
    """The features of a sequence of a study.

    Args:
        model_input: of the study.
        role: of the sequence.
        pixel_scale: of the model's preprocessing.

    Returns:
        float64, (feature,), in the order of `FEATURES`.
    """
    [occupied] = np.nonzero(model_input.occupied)
    if not len(occupied):
        occupied = np.arange(len(model_input.pixels))
    chosen = occupied[np.unique(np.linspace(0, len(occupied) - 1, MAX_SLICES).round().astype(int))]
    channel = ROLES.index(role)
    levels = np.ascontiguousarray(model_input.pixels[chosen][..., channel])
    standardised = ((levels - model_input.mean[channel]) / model_input.deviation[channel]).astype(np.float32)
    features = [
        _slice_features(_crop(level, head), pixel_scale)
        for level, head in zip(standardised, foreground_mask(levels), strict=True)
    ]
    means: Float64Array = np.mean(features, axis=0)
    return means


def mahalanobis_distance(features: Floats, reference: OutOfDistributionReference) -> float:
    """Mahalanobis's distance over the root of the number of features, about 1 for training data.

    Args:
        features: (feature,).
        reference: the training data's mean, scale and precision.

    Returns:
        The distance, from 0.
    """
    away = (features - np.array(reference.mean)) / np.array(reference.scale)
    return float(np.sqrt(away @ np.array(reference.precision) @ away / len(away)))


def flip_ratio(features: Floats, reference: OutOfDistributionReference) -> float:
    """The distance over that of the mirror image, front for back.

    Args:
        features: (feature,).
        reference: as in `mahalanobis_distance`.

    Returns:
        Below 1 for a head the right way up.
    """
    flipped = mahalanobis_distance(features[FLIPPED_ORDER], reference)
    return mahalanobis_distance(features, reference) / flipped


def _words(what: str, score: float, *, flipped: bool) -> str:
    figures = f"(score {score:.2f}, limit 1)"
    if score <= 1:
        return f"This {what} resembles the model's training data {figures}."
    if flipped:
        why = "it seems to be upside down; rotate it so that the forehead is at the top, and submit it again."
    else:
        why = (
            "it may not be an axial brain MRI, or be rotated or near the top or base of the head; the marks may be "
            "meaningless."
        )
    return f"This {what} is unlike the model's training data {figures}: {why}"


def _crop(level: Float32Array, head: Mask) -> _Slice:
    """The slice cropped to the head; all of it where there is no foreground."""
    if not head.any():
        return _Slice(level, np.ones_like(head))
    box = bounding_box(head)
    return _Slice(np.ascontiguousarray(level[box]), head[box])


def _slice_features(one: _Slice, pixel_scale: float) -> list[float]:
    rows, columns = one.level.shape
    cells = cv2.resize(one.level, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return [
        *cells.ravel().tolist(),
        float(np.log(rows / columns)),
        float(np.log(max(rows, columns) / (HEAD_PX * pixel_scale))),
        float(one.head.mean()),
        *np.quantile(one.level[one.head], QUANTILES).tolist(),
        _correlation(one.level, one.level[:, ::-1]),
        _correlation(one.level, one.level[::-1]),
        *_texture(one, pixel_scale),
    ]


def _correlation(one: Floats, other: Floats) -> float:
    """Pearson's correlation; 0 where one of them is flat."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def _texture(one: _Slice, pixel_scale: float) -> list[float]:
    """The logarithm of the deviation inside the head, in the band between each scale and the next coarser one."""
    finer: Array = one.level
    texture = []
    for scale in SCALES_PX:
        coarser = cv2.GaussianBlur(finer, (0, 0), 2 * scale * pixel_scale)
        texture.append(float(np.log((finer - coarser)[one.head].std() + 1e-3)))
        finer = coarser
    return texture

"""Familiarity: how far a study lies from those that a model learned from.

A study is described by a few dozen figures of the input that the model is fed: how bright FLAIR is in each of 6x6
cells of the head, so that a head upside down differs; shape, size and filling of its outline; quantiles of its
brightness; how alike its halves are, left and right, front and back; how much it varies at three scales. The figures
are means over slices. The distance from the training studies is Mahalanobis's with a shrunk covariance, as Lee et
al. (NeurIPS 2018) tell unknown input by, here on plain figures, which need no network. A head upside down is near
enough by that, so it is also asked whether the study's mirror image, front for back, would be nearer. FLAIR alone is
looked at, since the other sequences may be missing.

The reference is a part of the model's card: means and a covariance, from which no patient can be told.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.contracts import Familiarity, FamiliarityCard, FamiliarityReference
from metseg.imaging import FLAIR, HEAD_PX, ModelInput, bounding_box, foreground_mask

__all__ = ["FEATURES", "REVISION", "describe", "distance", "familiarity", "turned"]

Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

REVISION = 1
"""Of the figures: a card of another one tells this code nothing."""
CELLS = 6
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SCALES_PX = (1.0, 2.0, 4.0)
"""Of the texture, in reference pixels of 0.9 mm."""
LOOKED_AT = 24
"""Slices of a study, evenly spread, that its figures are means of: more tell no more."""

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
"""What each figure is, in order."""
UPSIDE_DOWN = np.r_[np.arange(CELLS**2).reshape(CELLS, CELLS)[::-1].ravel(), CELLS**2 : len(FEATURES)]
"""The order of the figures that makes them those of the mirror image: only the rows of cells change places."""


@dataclass(frozen=True, eq=False)
class _Slice:
    """One slice within the box of what it shows: standardised FLAIR, and where the head is."""

    flair: npt.NDArray[np.float32]
    head: Mask


def familiarity(prepared: ModelInput, card: FamiliarityCard | None, pixel_scale: float) -> Familiarity | None:
    """Compare a study with what a model learned from.

    Args:
        prepared: the model's input.
        card: the reference, of the model's card.
        pixel_scale: of the model's preprocessing.

    Returns:
        None where the card has no reference, or one of figures that this code does not compute.
    """
    if card is None or card.revision != REVISION:
        return None
    lone = len(prepared.pixels) == 1
    reference = card.lone_slices if lone else card.studies
    figures = describe(prepared, pixel_scale)
    far, upside_down = (
        distance(figures, reference) / reference.limit,
        turned(figures, reference) / reference.turned_limit,
    )
    score = max(far, upside_down)
    words = _words("slice" if lone else "study", score, turned=upside_down > far)
    return Familiarity(score=score, unlike=score > 1, words=words)


def describe(prepared: ModelInput, pixel_scale: float) -> Floats:
    """The figures of a study, in the order of `FEATURES`; float64, (feature,)."""
    [shown] = np.nonzero(prepared.occupied)
    if not len(shown):
        shown = np.arange(len(prepared.pixels))
    chosen = shown[np.unique(np.linspace(0, len(shown) - 1, LOOKED_AT).round().astype(int))]
    levels = np.ascontiguousarray(prepared.pixels[chosen][..., FLAIR])
    standard = ((levels - prepared.mean[FLAIR]) / prepared.deviation[FLAIR]).astype(np.float32)
    figures = [
        _figures(_framed(flair, head), pixel_scale)
        for flair, head in zip(standard, foreground_mask(levels), strict=True)
    ]
    means: npt.NDArray[np.float64] = np.mean(figures, axis=0)
    return means


def distance(figures: Floats, reference: FamiliarityReference) -> float:
    """Mahalanobis's distance over the root of the number of figures: about 1 for what the reference was made of."""
    away = (figures - np.array(reference.mean)) / np.array(reference.scale)
    return float(np.sqrt(away @ np.array(reference.precision) @ away / len(away)))


def turned(figures: Floats, reference: FamiliarityReference) -> float:
    """The distance over that of the mirror image, front for back: below 1 for a head the right way up."""
    return distance(figures, reference) / distance(figures[UPSIDE_DOWN], reference)


def _words(what: str, score: float, *, turned: bool) -> str:
    figures = f"(score {score:.2f}, limit 1)"
    if score <= 1:
        return f"This {what} looks like what the model learned from {figures}."
    if turned:
        why = "it seems to be upside down; turn it so that the forehead is at the top, and submit it again."
    else:
        why = (
            "it may be no axial brain MRI with FLAIR, turned, or near the top or base of the head; what is marked may "
            "mean nothing."
        )
    return f"This {what} looks unlike what the model learned from {figures}: {why}"


def _framed(flair: npt.NDArray[np.float32], head: Mask) -> _Slice:
    """The box of the head; all of the slice where nothing is brighter than the rest."""
    if not head.any():
        return _Slice(flair, np.ones_like(head))
    box = bounding_box(head)
    return _Slice(np.ascontiguousarray(flair[box]), head[box])


def _figures(one: _Slice, pixel_scale: float) -> list[float]:
    rows, columns = one.flair.shape
    cells = cv2.resize(one.flair, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return [
        *cells.ravel().tolist(),
        float(np.log(rows / columns)),
        float(np.log(max(rows, columns) / (HEAD_PX * pixel_scale))),
        float(one.head.mean()),
        *np.quantile(one.flair[one.head], QUANTILES).tolist(),
        _alike(one.flair, one.flair[:, ::-1]),
        _alike(one.flair, one.flair[::-1]),
        *_texture(one, pixel_scale),
    ]


def _alike(one: Floats, other: Floats) -> float:
    """Pearson's correlation; 0 where one of them is flat."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def _texture(one: _Slice, pixel_scale: float) -> list[float]:
    """The logarithm of the deviation inside the head, of what each of the scales adds to the next."""
    finer: npt.NDArray[Any] = one.flair
    told = []
    for scale in SCALES_PX:
        coarser = cv2.GaussianBlur(finer, (0, 0), 2 * scale * pixel_scale)
        told.append(float(np.log((finer - coarser)[one.head].std() + 1e-3)))
        finer = coarser
    return told

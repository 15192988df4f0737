"""Dice and binary cross-entropy, the loss of all networks."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from metseg_trainer.training.config import LossConfig

__all__ = [
    "MIN_LESION_SHARE",
    "Sum",
    "core_loss",
    "deep_supervision_loss",
    "dice_bce_loss",
    "dice_loss",
    "dice_score",
    "own_share",
]

MIN_LESION_SHARE = 0.5
"""The smallest share of lesion in a pixel with which its slice counts as one with a lesion."""

Sum = Callable[[Tensor], Tensor]


def own_share(share: Tensor) -> Tensor:
    """The sum over one process, which has the whole batch."""
    return share


def dice_bce_loss(
    logits: Tensor, truth: Tensor, config: LossConfig, all_reduce: Sum = own_share, weights: Tensor | None = None
) -> Tensor:
    r"""Soft Dice loss and binary cross-entropy.

    Dice is $1 - 2 \sum p t / (\sum p + \sum t)$ (Milletari et al., 3DV 2016), computed twice: over the whole batch, so
    that a slice without a lesion needs no special case; and as the mean over the slices that have one, so that small
    lesions weigh as much as large ones. Cross-entropy gives a gradient where masks are empty.

    Args:
        logits: (batch, 1, row, column).
        truth: in [0, 1], the same shape.
        config: weights of the three parts.
        all_reduce: sums over all processes that have a share of the batch.
        weights: of the pixels, the same shape; a pixel of weight 0 adds nothing. None weighs all alike.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    weights = torch.ones_like(truth) if weights is None else weights
    probability, weighted = torch.sigmoid(logits), truth * weights
    pixels = (1, 2, 3)
    overlap = (probability * weighted).sum(pixels)
    both = (probability * weights).sum(pixels) + weighted.sum(pixels)
    has_lesion = (weighted.amax(pixels) > MIN_LESION_SHARE).to(overlap.dtype)
    slice_losses = has_lesion * dice_loss(overlap, both)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, weights, reduction="sum")
    shares = [overlap.sum(), both.sum(), slice_losses.sum(), has_lesion.sum(), entropy, weights.sum()]
    sums = all_reduce(torch.stack(shares))
    batch_dice, slice_dice = dice_loss(sums[0], sums[1]), sums[2] / sums[3].clamp(min=1)
    cross_entropy = sums[4] / sums[5].clamp(min=1)
    return config.batch_dice * batch_dice + config.slice_dice * slice_dice + config.cross_entropy * cross_entropy


def deep_supervision_loss(
    outputs: list[Tensor], truth: Tensor, config: LossConfig, all_reduce: Sum = own_share
) -> Tensor:
    """The mean loss of all supervised outputs (deep supervision, Zhou 2020, equation 3, equal weights).

    Args:
        outputs: logits, (batch, 1, row, column) each.
        truth: in [0, 1], the same shape.
        config: see `dice_bce_loss`.
        all_reduce: see `dice_bce_loss`.

    Returns:
        A scalar.
    """
    return torch.stack([dice_bce_loss(logits, truth, config, all_reduce) for logits in outputs]).mean()


def core_loss(outputs: list[Tensor], truth: Tensor, config: LossConfig, all_reduce: Sum = own_share) -> Tensor:
    """The mean loss of all supervised outputs, where the core is known.

    Args:
        outputs: logits, (batch, 1, row, column) each.
        truth: (batch, 2, row, column): the core, in [0, 1], and the weights of its pixels.
        config: see `dice_bce_loss`.
        all_reduce: see `dice_bce_loss`.

    Returns:
        A scalar.
    """
    core, weights = truth[:, :1], truth[:, 1:]
    return torch.stack([dice_bce_loss(logits, core, config, all_reduce, weights) for logits in outputs]).mean()


def dice_score(predicted: Tensor, truth: Tensor) -> float:
    """Dice of two masks, for the learning curves; a model's figures are from `metseg_trainer.evaluation`.

    Args:
        predicted: bool.
        truth: bool, the same shape.

    Returns:
        0 to 1; 1 if both are empty.
    """
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def dice_loss(overlap: Tensor, both: Tensor) -> Tensor:
    """The soft Dice loss from sums over pixels.

    Args:
        overlap: of prediction times truth, any shape.
        both: of prediction plus truth, the same shape.

    Returns:
        1 less Dice, smoothed so that two empty masks cost nothing.
    """
    return 1 - (2 * overlap + 1) / (both + 1)

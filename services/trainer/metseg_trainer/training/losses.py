"""Dice + binary cross-entropy, the loss that both networks learn with."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

HALF = 0.5
"""The share of a pixel that has to be lesion, so that its slice counts as one with a lesion."""

Total = Callable[[Tensor], Tensor]


def _alone(share: Tensor) -> Tensor:
    return share


def dice_bce(logits: Tensor, truth: Tensor, total: Total = _alone) -> Tensor:
    r"""Half soft Dice loss, half binary cross-entropy.

    Dice is $1 - 2 \sum p t / (\sum p + \sum t)$ (Milletari et al., 3DV 2016), taken twice with equal weights: over the
    whole batch, so that a slice without a lesion is no case of its own; and the mean over the slices that have one, so
    that small lesions weigh as much as large ones. Cross-entropy keeps the gradient alive where masks are empty.

    Args:
        logits: (batch, 1, row, column).
        truth: in [0, 1], the same shape.
        total: adds a sum up over all processes that have a share of the batch.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    probability = torch.sigmoid(logits)
    pixels = (1, 2, 3)
    overlap, both = (probability * truth).sum(pixels), probability.sum(pixels) + truth.sum(pixels)
    has_lesion = (truth.amax(pixels) > HALF).to(overlap.dtype)
    misses = has_lesion * _dice_loss(overlap, both)
    sums = total(torch.stack([overlap.sum(), both.sum(), misses.sum(), has_lesion.sum()]))
    together, by_slice = _dice_loss(sums[0], sums[1]), sums[2] / sums[3].clamp(min=1)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    loss: Tensor = 0.25 * together + 0.25 * by_slice + 0.5 * cross_entropy
    return loss


def _dice_loss(overlap: Tensor, both: Tensor) -> Tensor:
    return 1 - (2 * overlap + 1) / (both + 1)


def supervised(branches: list[Tensor], truth: Tensor, total: Total = _alone) -> Tensor:
    """The mean loss of all supervised outputs (deep supervision, Zhou 2020, equation 3, equal weights)."""
    return torch.stack([dice_bce(logits, truth, total) for logits in branches]).mean()

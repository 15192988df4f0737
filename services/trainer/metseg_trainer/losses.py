"""Dice + binary cross-entropy, the loss that both networks learn with."""

import torch
from torch import Tensor
from torch.nn import functional


def dice_bce(logits: Tensor, truth: Tensor) -> Tensor:
    r"""Half soft Dice loss, half binary cross-entropy.

    Dice is taken over the whole batch (Milletari et al., 3DV 2016), so that a slice without a lesion is no case of
    its own: $1 - 2 \sum p t / (\sum p + \sum t)$. Cross-entropy keeps the gradient alive where masks are empty.

    Args:
        logits: (batch, 1, row, column).
        truth: in [0, 1], the same shape.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum()
    dice = 1 - (2 * overlap + 1) / (probability.sum() + truth.sum() + 1)
    return 0.5 * dice + 0.5 * functional.binary_cross_entropy_with_logits(logits, truth)


def supervised(branches: list[Tensor], truth: Tensor) -> Tensor:
    """The mean loss of all supervised outputs (deep supervision, Zhou 2020, equation 3, equal weights)."""
    return torch.stack([dice_bce(logits, truth) for logits in branches]).mean()

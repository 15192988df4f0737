"""Dice + binary cross-entropy, the loss that both networks learn with."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Total = Callable[[Tensor], Tensor]


def _alone(share: Tensor) -> Tensor:
    return share


def dice_bce(logits: Tensor, truth: Tensor, total: Total = _alone) -> Tensor:
    r"""Half soft Dice loss, half binary cross-entropy.

    Dice is taken over the whole batch (Milletari et al., 3DV 2016), so that a slice without a lesion is no case of
    its own: $1 - 2 \sum p t / (\sum p + \sum t)$. Cross-entropy keeps the gradient alive where masks are empty.

    Args:
        logits: (batch, 1, row, column).
        truth: in [0, 1], the same shape.
        total: adds a sum up over all processes that have a share of the batch.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    probability = torch.sigmoid(logits)
    overlap, both = total(torch.stack([(probability * truth).sum(), probability.sum() + truth.sum()]))
    dice = 1 - (2 * overlap + 1) / (both + 1)
    loss: Tensor = 0.5 * dice + 0.5 * functional.binary_cross_entropy_with_logits(logits, truth)
    return loss


def supervised(branches: list[Tensor], truth: Tensor, total: Total = _alone) -> Tensor:
    """The mean loss of all supervised outputs (deep supervision, Zhou 2020, equation 3, equal weights)."""
    return torch.stack([dice_bce(logits, truth, total) for logits in branches]).mean()

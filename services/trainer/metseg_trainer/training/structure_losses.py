"""Dice and binary cross-entropy of two structures, each where its truth is known."""

import torch
from torch import Tensor

from metseg_trainer.networks import log_probabilities
from metseg_trainer.training.config import LossConfig
from metseg_trainer.training.losses import MIN_LESION_SHARE, Sum, dice_loss, own_share

__all__ = ["masked_dice_bce_loss", "structure_loss"]


def masked_dice_bce_loss(
    logits: Tensor, truth: Tensor, weights: Tensor, config: LossConfig, all_reduce: Sum = own_share
) -> Tensor:
    """The mean of both structures' `dice_bce_loss`; a pixel without truth adds nothing to its structure's.

    Args:
        logits: (batch, 2, row, column): whole, and core given whole.
        truth: in [0, 1], the same shape: core, whole.
        weights: of the pixels of core and whole, the same shape; 0 where they are unknown.
        config: weights of the three parts.
        all_reduce: sums over all processes that have a share of the batch.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    log_p, log_not_p = log_probabilities(logits)
    probability, weighted = log_p.exp(), truth * weights
    overlap = (probability * weighted).sum((2, 3))
    both = (probability * weights).sum((2, 3)) + weighted.sum((2, 3))
    has_lesion = (weighted.amax((2, 3)) > MIN_LESION_SHARE).to(overlap.dtype)
    slice_losses = (has_lesion * dice_loss(overlap, both)).sum(0)
    cross_entropies = -(weighted * log_p + (weights - weighted) * log_not_p).sum((0, 2, 3))
    parts = [overlap.sum(0), both.sum(0), slice_losses, has_lesion.sum(0), cross_entropies, weights.sum((0, 2, 3))]
    overlap, both, slice_losses, lesions, cross_entropies, pixels = all_reduce(torch.stack(parts))
    losses: Tensor = (
        config.batch_dice * dice_loss(overlap, both)
        + config.slice_dice * slice_losses / lesions.clamp(min=1)
        + config.cross_entropy * cross_entropies / pixels.clamp(min=1)
    )
    return losses.mean()


def structure_loss(outputs: list[Tensor], truth: Tensor, config: LossConfig, all_reduce: Sum = own_share) -> Tensor:
    """The mean loss of all supervised outputs.

    Args:
        outputs: logits, (batch, 2, row, column) each.
        truth: (batch, 4, row, column): core and whole, in [0, 1], and the weights of their pixels.
        config: see `masked_dice_bce_loss`.
        all_reduce: see `masked_dice_bce_loss`.

    Returns:
        A scalar.
    """
    losses = [masked_dice_bce_loss(logits, truth[:, :2], truth[:, 2:], config, all_reduce) for logits in outputs]
    return torch.stack(losses).mean()

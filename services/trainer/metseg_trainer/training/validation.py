"""Loss and Dice of the validation patients after an epoch, for the learning curves."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist

from metseg_trainer.data import LESION_LEVEL, PreparedStudy
from metseg_trainer.training.distributed import rank, world_size
from metseg_trainer.training.losses import dice_bce_loss, dice_score
from metseg_trainer.training.train_state import TrainState

__all__ = ["validate"]


def validate(state: TrainState, studies: Sequence[PreparedStudy]) -> tuple[float, float]:
    """Evaluate the averaged network; processes share the patients.

    Args:
        state: of the training.
        studies: at least one, each patient's slices as one volume in model pixels.

    Returns:
        Mean loss and mean Dice of all patients.
    """
    sums = torch.zeros(3, dtype=torch.float64, device=state.device)
    for study in studies[rank() :: world_size()]:
        sums += torch.tensor([*_validate_study(state, study), 1.0], dtype=torch.float64, device=sums.device)
    if world_size() > 1:
        dist.all_reduce(sums)
    loss, score, patients = sums.tolist()
    return loss / patients, score / patients


@torch.inference_mode()
def _validate_study(state: TrainState, study: PreparedStudy) -> tuple[float, float]:
    """Loss and Dice of one patient."""
    network, batch_size = state.ema_network, state.config.batch_size
    parts = []
    for index in range(0, len(study.truth), batch_size):
        tensor = study.prepared.tensor(slice(index, index + batch_size)).transpose(0, 3, 1, 2)
        slices = torch.from_numpy(np.ascontiguousarray(tensor))
        with state.autocast():
            logits = network(slices.to(state.device, memory_format=torch.channels_last))
        parts.append(logits.float().cpu())
    logits = torch.cat(parts)
    truth = torch.from_numpy(study.truth[:, None].astype(np.float32) / 255)
    loss = dice_bce_loss(logits, truth, state.config.loss).item()
    return loss, dice_score(logits > 0, torch.from_numpy(study.truth[:, None] >= LESION_LEVEL))

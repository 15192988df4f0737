"""Loading the batches of a training."""

import os
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset

from metseg_trainer.data import StepBatchSampler
from metseg_trainer.training.distributed import rank, world_size
from metseg_trainer.training.train_state import TrainState

__all__ = ["remaining_batches"]

MAX_GPU_LOADERS = 8
"""Processes that draw samples for a GPU; on a CPU drawing takes a fortieth of a step and is done in the loop."""


def remaining_batches(state: TrainState, dataset: Dataset[Any]) -> "DataLoader[Any]":
    """This process's share of the batches that a training has not used yet.

    Args:
        state: of the training.
        dataset: of its samples.

    Returns:
        A loader of the batches, in the order of the steps.
    """
    config, on_gpu = state.config, state.device.type == "cuda"
    steps = range(state.step, config.total_steps)
    return DataLoader(
        dataset,
        batch_sampler=StepBatchSampler(steps, config.batch_size, rank(), world_size()),
        num_workers=min(MAX_GPU_LOADERS, os.cpu_count() or 1) if on_gpu else 0,
        pin_memory=on_gpu,
        worker_init_fn=_use_one_thread,
    )


def _use_one_thread(_: int) -> None:
    """OpenCV would use all cores in each of several processes that draw samples."""
    cv2.setNumThreads(0)

"""Trainer: one network from its first step to its last; a stop at any moment loses minutes and changes no result.

A sample is a function of its number, a step of its samples and of the state before it. So a training that is resumed
from the checkpoint of any step ends with the weights of an uninterrupted one, on a CPU to the last bit. No library's
trainer is used, since none keeps that promise.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Never

import torch
from torch import Tensor
from tqdm import tqdm

from metseg.atomic_io import remove_leftovers
from metseg.errors import InvalidParameter, LossNotFinite
from metseg_trainer.data import PreparedStudy, SampleDataset, Source
from metseg_trainer.training import checkpoints
from metseg_trainer.training.batches import remaining_batches
from metseg_trainer.training.checkpoints import CHECKPOINT, load_checkpoint, load_start, sample_seed
from metseg_trainer.training.config import TrainingConfig
from metseg_trainer.training.distributed import StopSignal, launch, rank
from metseg_trainer.training.learning_curves import LearningCurves, Row
from metseg_trainer.training.resource_errors import resource_errors_translated
from metseg_trainer.training.train_state import TrainState
from metseg_trainer.training.validation import validate

__all__ = ["CHECKPOINT_EVERY_S", "Trainer", "is_finished", "train_network"]

CHECKPOINT_EVERY_S = 300.0
"""The most work that is lost when the machine is switched off."""


def train_network(
    network: str,
    config: TrainingConfig,
    sources: Mapping[Source, Sequence[PreparedStudy]],
    validation: Sequence[PreparedStudy],
    folder: Path,
    *,
    start: Path | None = None,
    devices: int | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> None:
    """Train a network, from its last checkpoint in `folder` if there is one.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        sources: of samples, from the training patients.
        validation: studies of other patients, for the learning curves.
        folder: for the checkpoint (`last.ckpt`), the learning curves (`curves.json`) and TensorBoard's event files.
        start: a checkpoint of an earlier run with the initial weights; None: random ones.
        devices: how many processes share each batch, each on a GPU if there are any; None uses all GPUs.
        checkpoint_every_s: seconds between checkpoints, in addition to the one at the end of each epoch.

    Raises:
        InvalidParameter: the batch cannot be divided among the devices.
        TrainingFailed: the loss is not finite, or a resource is exhausted; the last checkpoint is complete.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    devices = devices or max(1, torch.cuda.device_count())
    if config.batch_size % devices:
        raise InvalidParameter(f"A batch of {config.batch_size} cannot be divided equally among {devices} devices.")
    with resource_errors_translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        task = _Task(network, config, sources, validation, folder, start, checkpoint_every_s)
        launch(partial(_train, task), devices)


def is_finished(folder: Path, config: TrainingConfig) -> bool:
    """Whether the network of a folder has taken all steps.

    Args:
        folder: of the network.
        config: how it is trained.

    Returns:
        False also if the training has not begun.
    """
    path = folder / CHECKPOINT
    return path.exists() and load_checkpoint(path)["step"] >= config.total_steps


@dataclass(frozen=True)
class _Task:
    """The arguments of `train_network`."""

    network: str
    config: TrainingConfig
    sources: Mapping[Source, Sequence[PreparedStudy]]
    validation: Sequence[PreparedStudy]
    folder: Path
    start: Path | None
    checkpoint_every_s: float


def _train(task: _Task, stop: StopSignal) -> None:
    """The work of every process."""
    with resource_errors_translated(task.folder):
        Trainer(task).run_training(stop)


class Trainer:
    """The loop of one process."""

    def __init__(self, task: _Task) -> None:
        self._task, config = task, task.config
        self._dataset = SampleDataset(
            task.sources, config.sampling, config.augmentation, config.patch_size, sample_seed(config.seed, task.start)
        )
        self._checkpoint = task.folder / CHECKPOINT
        self._state = TrainState(task.network, config, config.total_steps)
        rows: list[Row] = []
        self._epoch_loss, self._epoch_s = 0.0, 0.0
        if self._checkpoint.exists():
            saved = load_checkpoint(self._checkpoint)
            self._state.load_state_dict(saved)
            rows, self._epoch_loss, self._epoch_s = saved["curves"], saved["epoch_loss"], saved["epoch_s"]
        elif task.start is not None:
            self._state.load_weights(load_start(task.start, task.network, config.base_width))
        self._curves = LearningCurves(task.folder, rows) if rank() == 0 else None
        self._ticked_s = self._saved_s = time.monotonic()

    def run_training(self, stop: StopSignal) -> None:
        """Take all remaining steps."""
        try:
            with self._progress_bar() as bar:
                self._ticked_s = self._saved_s = time.monotonic()
                for slices, truth in remaining_batches(self._state, self._dataset):
                    stopping = self._train_step(slices, truth, stop=stop.is_set())
                    bar.update()
                    epoch_ended = self._state.step % self._task.config.steps_per_epoch == 0
                    if epoch_ended:
                        self._end_epoch()
                    if epoch_ended or stopping or self._checkpoint_is_due():
                        self._save_checkpoint()
                    if stopping:
                        raise KeyboardInterrupt
        finally:
            if self._curves is not None:
                self._curves.close()

    def _train_step(self, slices: Tensor, truth: Tensor, *, stop: bool) -> bool:
        """One step; if its loss is not finite, its patients are named on the terminal and nowhere else."""
        try:
            loss, stopping = self._state.train_step(slices, truth, stop=stop)
        except LossNotFinite as error:
            exists = self._checkpoint.exists()
            saved = f"the checkpoint {self._checkpoint} is from before" if exists else "no checkpoint was written"
            if rank() == 0:
                print(f"The batch held slices of {', '.join(self._patients_of_next_step())}.", file=sys.stderr)
            raise LossNotFinite(f"{error.detail} Look at the slices named above; {saved}.") from error
        self._epoch_loss += loss
        self._tick()
        return stopping

    def _end_epoch(self) -> None:
        """Validate, and add the epoch to the learning curves."""
        config, epoch = self._task.config, self._state.step // self._task.config.steps_per_epoch
        loss, dice = validate(self._state, self._task.validation)
        self._tick()
        row: Row = {
            "epoch": epoch,
            "train_loss": self._epoch_loss / config.steps_per_epoch,
            "val_loss": loss,
            "val_dice": dice,
            "lr": self._state.learning_rate,
            "seconds": round(self._epoch_s, 1),
        }
        self._epoch_loss, self._epoch_s = 0.0, 0.0
        if self._curves is not None:
            self._curves.add(row)
            tqdm.write(
                f"{self._state.name}: epoch {epoch} of {config.epochs}, loss {row['train_loss']:.4f}, "
                f"validation Dice {dice:.4f}, {row['seconds']:.0f} s"
            )

    def _save_checkpoint(self) -> None:
        if self._curves is not None:
            progress = {"curves": self._curves.rows, "epoch_loss": self._epoch_loss, "epoch_s": self._epoch_s}
            checkpoints.save_checkpoint({**self._state.state_dict(), **progress}, self._checkpoint)
        self._saved_s = time.monotonic()

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_s >= self._task.checkpoint_every_s

    def _tick(self) -> None:
        """Add the time since the last tick to the epoch's."""
        now = time.monotonic()
        self._epoch_s, self._ticked_s = self._epoch_s + now - self._ticked_s, now

    def _patients_of_next_step(self) -> list[str]:
        batch_size, step = self._task.config.batch_size, self._state.step
        numbers = range(step * batch_size, (step + 1) * batch_size)
        return sorted({self._dataset.patient(number) for number in numbers})

    def _progress_bar(self) -> "tqdm[Never]":
        return tqdm(
            total=self._task.config.total_steps, initial=self._state.step, desc=self._state.name, unit="step",
            disable=None if rank() == 0 else True,  # None: only if the output is a terminal
        )  # fmt: skip

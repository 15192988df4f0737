"""Training of a network of the core, where it is known; it can be resumed after any step."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from metseg.errors import InvalidParameter
from metseg_trainer.data.structures import StoredStudy, StructureDataset, StructureSamplingConfig
from metseg_trainer.training.batches import remaining_batches
from metseg_trainer.training.checkpoints import CHECKPOINT, load_checkpoint, load_start, sample_seed, save_checkpoint
from metseg_trainer.training.config import TrainingConfig
from metseg_trainer.training.distributed import StopSignal, launch
from metseg_trainer.training.losses import core_loss
from metseg_trainer.training.resource_errors import resource_errors_translated
from metseg_trainer.training.train_state import TrainState
from metseg_trainer.training.trainer import CHECKPOINT_EVERY_S

__all__ = ["StructureTrainingConfig", "train_structures"]


@dataclass(frozen=True)
class StructureTrainingConfig(TrainingConfig):
    """How a network of the core is trained; stored in each checkpoint. One epoch has all samples.

    Attributes:
        structure_sampling: which slices are drawn; it replaces `sampling`.
    """

    epochs: int = 1
    samples_per_epoch: int = 160_000
    patch_size: tuple[int, int] = (160, 160)
    learning_rate: float = 1.5e-3
    warm_up: float = 0.03
    ema_decay: float = 0.998
    structure_sampling: StructureSamplingConfig = field(default_factory=StructureSamplingConfig)


def train_structures(
    network: str,
    config: StructureTrainingConfig,
    lgg: Sequence[StoredStudy],
    brisc: Sequence[StoredStudy],
    folder: Path,
    *,
    studies: Sequence[StoredStudy] = (),
    start: Path | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> None:
    """Train a network, from its last checkpoint in `folder` if there is one.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        lgg: studies of glioma patients, of the training side.
        brisc: single slices, of the training side.
        folder: for the checkpoint (`last.ckpt`).
        studies: whose core is known, of the training side.
        start: a checkpoint with the initial weights; None: random ones. It sets the samples too.
        checkpoint_every_s: seconds between checkpoints, in addition to the one at the end.

    Raises:
        InvalidParameter: the samples do not fill a batch.
        DatasetError: no slice of a source has post-contrast T1 and shows enough of a head.
        TrainingFailed: the loss is not finite, a checkpoint is of another network or configuration, or a resource of
            the machine is exhausted; the last checkpoint is complete.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    if config.total_steps < 1:
        raise InvalidParameter(f"{config.samples_per_epoch} samples do not fill a batch of {config.batch_size}.")
    dataset = StructureDataset(
        lgg, brisc, config.structure_sampling, studies=studies,
        augmentation=config.augmentation, patch_size=config.patch_size, seed=sample_seed(config.seed, start),
    )  # fmt: skip
    with resource_errors_translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
        state = TrainState(network, config, config.total_steps, core_loss)
        if (folder / CHECKPOINT).exists():
            state.load_state_dict(load_checkpoint(folder / CHECKPOINT))
        elif start is not None:
            state.load_weights(load_start(start, network, config.base_width))
        launch(partial(_take_steps, state, dataset, folder / CHECKPOINT, checkpoint_every_s), 1)


def _take_steps(
    state: TrainState, dataset: StructureDataset, checkpoint: Path, checkpoint_every_s: float, stop: StopSignal
) -> None:
    """Take all remaining steps."""
    config = state.config
    saved_s, losses = time.monotonic(), list[float]()
    with tqdm(total=config.total_steps, initial=state.step, desc=state.name, unit="step", disable=None) as bar:
        for slices, truth in remaining_batches(state, dataset):
            loss, stopping = state.train_step(slices, truth, stop=stop.is_set())
            bar.update()
            losses.append(loss)
            if stopping or state.step == config.total_steps or time.monotonic() - saved_s >= checkpoint_every_s:
                save_checkpoint(state.state_dict(), checkpoint)
                tqdm.write(
                    f"{state.name}: {state.step} of {config.total_steps} steps, loss {sum(losses) / len(losses):.4f}"
                )
                saved_s, losses = time.monotonic(), []
            if stopping:
                raise KeyboardInterrupt

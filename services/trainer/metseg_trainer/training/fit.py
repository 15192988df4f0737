"""Fit: one network, one recipe, step by step to the end; a stop at any moment loses minutes and changes nothing.

A sample is a function of its number, a step of its samples and of the state before it. So a training that goes on
from a checkpoint of any step ends with the weights of one that was never stopped, on a CPU to the last bit.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader
from tqdm import tqdm

from metseg.errors import InvalidParameter, LossNotFinite
from metseg_trainer.data.samples import Batches, Samples, Study
from metseg_trainer.evaluation.masks import dice
from metseg_trainer.networks import SegmentationNetwork, create
from metseg_trainer.training import checkpoints
from metseg_trainer.training import distributed as processes
from metseg_trainer.training.config import Recipe, Source
from metseg_trainer.training.curves import CURVES, Curves, Row
from metseg_trainer.training.distributed import Stop
from metseg_trainer.training.losses import dice_bce
from metseg_trainer.training.trainer import Training

__all__ = ["CURVES", "LAST", "finished", "fit", "load"]

LAST = "last.ckpt"
KEEP_EVERY_S = 300.0
"""A machine that is switched off takes no more work than this with it."""
LOADERS = 8
"""Processes that draw samples for a GPU; on a CPU drawing takes a fortieth of a step, and the loop does it itself."""


def fit(
    network: str,
    recipe: Recipe,
    sources: Mapping[Source, Sequence[Study]],
    validation: Sequence[Study],
    folder: Path,
    *,
    start: Path | None = None,
    devices: int | None = None,
    keep_every_s: float = KEEP_EVERY_S,
) -> None:
    """Train a network, from its last checkpoint in `folder` if there is one.

    Args:
        network: a key of `metseg_trainer.networks.NETWORKS`.
        recipe: how.
        sources: what samples are drawn from, of the training patients.
        validation: studies of other patients, which the curves tell of.
        folder: for the checkpoint (`last.ckpt`), the learning curves (`curves.json`) and TensorBoard's event files.
        start: a checkpoint of an earlier run whose weights are gone on with; None begins with random ones.
        devices: how many processes share each batch, each on a GPU if there are any; None takes all GPUs.
        keep_every_s: seconds between checkpoints, beside the one that ends each epoch.

    Raises:
        InvalidParameter: the batch cannot be divided among the devices.
        TrainingFailed: the loss is no number, or the machine ran out of something; the last checkpoint is whole.
        KeyboardInterrupt: the training was told to stop, and has left a checkpoint.
    """
    devices = devices or max(1, torch.cuda.device_count())
    if recipe.batch % devices:
        raise InvalidParameter(f"A batch of {recipe.batch} cannot be shared by {devices} devices equally.")
    with checkpoints.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        task = _Task(network, recipe, sources, validation, folder, start, keep_every_s)
        processes.together(partial(_run, task), devices)


def load(checkpoint: Path) -> SegmentationNetwork:
    """The network of a checkpoint that `fit` wrote, with its averaged weights, ready to predict."""
    content = checkpoints.read(checkpoint)
    network = create(content["network"], content["recipe"]["base_width"])
    network.load_state_dict(content["averaged"])
    return network.eval()


def finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the network of a folder has taken all steps."""
    last = folder / LAST
    return last.exists() and checkpoints.read(last)["done"] >= _steps(recipe) * recipe.epochs


def _steps(recipe: Recipe) -> int:
    """Of an epoch; what is left of its samples is too few for a batch."""
    return recipe.samples // recipe.batch


@dataclass(frozen=True)
class _Task:
    """What `fit` was asked for."""

    network: str
    recipe: Recipe
    sources: Mapping[Source, Sequence[Study]]
    validation: Sequence[Study]
    folder: Path
    start: Path | None
    keep_every_s: float


def _run(task: _Task, stop: Stop) -> None:
    """What every process does, its failures put in words."""
    with checkpoints.explained(task.folder):
        _Loop(task).run(stop)


class _Loop:
    """The steps of a training, with what belongs to the epoch that runs."""

    def __init__(self, task: _Task) -> None:
        self._task, recipe = task, task.recipe
        self._samples, self._last = Samples(task.sources, recipe), task.folder / LAST
        self._steps = _steps(recipe)
        self._total = recipe.epochs * self._steps
        self._training = Training(task.network, recipe, self._total)
        rows: list[Row] = []
        self._loss, self._seconds = 0.0, 0.0
        if self._last.exists():
            state = checkpoints.read(self._last)
            self._training.resume(state)
            rows, self._loss, self._seconds = state["rows"], state["loss"], state["seconds"]
        elif task.start is not None:
            self._training.begin_with(load(task.start).state_dict())
        self._curves = Curves(task.folder, rows) if processes.rank() == 0 else None

    def run(self, stop: Stop) -> None:
        """Take all steps that are left."""
        try:
            self._run(stop)
        finally:
            if self._curves is not None:
                self._curves.close()

    def _run(self, stop: Stop) -> None:
        training, first = self._training, self._training.done
        ticked = kept = time.monotonic()
        with tqdm(total=self._total, initial=first, desc=training.name, unit="step", disable=_quiet()) as bar:
            for slices, truth in _loader(self._samples, training, range(first, self._total)):
                loss, stopping = self._step(slices, truth, stop=stop.is_set())
                self._loss += loss
                bar.update()
                ended = training.done % self._steps == 0
                score = self._judge() if ended else (0.0, 0.0)
                now = time.monotonic()
                self._seconds, ticked = self._seconds + now - ticked, now
                if ended:
                    self._end_epoch(*score)
                if ended or stopping or now - kept >= self._task.keep_every_s:
                    self._keep()
                    kept = time.monotonic()
                if stopping:
                    raise KeyboardInterrupt

    def _step(self, slices: Tensor, truth: Tensor, *, stop: bool) -> tuple[float, bool]:
        """One step; whose slices ended it is told on the terminal alone."""
        try:
            return self._training.step(slices, truth, stop=stop)
        except LossNotFinite as error:
            kept = f"the checkpoint {self._last} is from before" if self._last.exists() else "no checkpoint was written"
            if processes.rank() == 0:
                batch = self._training.recipe.batch
                numbers = range(self._training.done * batch, (self._training.done + 1) * batch)
                patients = sorted({self._samples.patient(number) for number in numbers})
                print(f"The batch held slices of {', '.join(patients)}.", file=sys.stderr)
            raise LossNotFinite(f"{error.detail} Look at the slices named above; {kept}.") from error

    def _end_epoch(self, loss: float, score: float) -> None:
        epoch = self._training.done // self._steps
        row: Row = {
            "epoch": epoch,
            "train_loss": self._loss / self._steps,
            "val_loss": loss,
            "val_dice": score,
            "lr": self._training.learning_rate,
            "seconds": round(self._seconds, 1),
        }
        self._loss, self._seconds = 0.0, 0.0
        if self._curves is not None:
            self._curves.add(row)
            tqdm.write(
                f"{self._training.name}: epoch {epoch} of {self._training.recipe.epochs}, "
                f"loss {row['train_loss']:.4f}, validation Dice {score:.4f}, {row['seconds']:.0f} s"
            )

    def _keep(self) -> None:
        if self._curves is not None:
            more = {"rows": self._curves.rows, "loss": self._loss, "seconds": self._seconds}
            checkpoints.write({**self._training.state(), **more}, self._last)

    def _judge(self) -> tuple[float, float]:
        """Mean loss and Dice of the validation patients, each patient's slices as one volume, in model pixels."""
        mine = self._task.validation[processes.rank() :: processes.count()]
        figures = torch.zeros(3, dtype=torch.float64, device=self._training.device)
        for study in mine:
            figures += torch.tensor([*_judged(study, self._training), 1.0], dtype=torch.float64, device=figures.device)
        if processes.count() > 1:
            distributed.all_reduce(figures)
        loss, score, patients = figures.tolist()
        return loss / patients, score / patients


@torch.inference_mode()
def _judged(study: Study, training: Training) -> tuple[float, float]:
    """Loss and Dice of one patient."""
    network, batch = training.averaged, training.recipe.batch
    parts = []
    for index in range(0, len(study.truth), batch):
        tensor = study.prepared.tensor(slice(index, index + batch)).transpose(0, 3, 1, 2)
        slices = torch.from_numpy(np.ascontiguousarray(tensor))
        with training.narrow():
            logits = network(slices.to(training.device, memory_format=torch.channels_last))
        parts.append(logits.float().cpu())
    logits = torch.cat(parts)
    truth = torch.from_numpy(study.truth[:, None].astype(np.float32) / 255)
    return dice_bce(logits, truth).item(), dice((logits[:, 0] > 0).numpy(), study.truth >= 128)


def _loader(samples: Samples, training: Training, steps: range) -> DataLoader[tuple[Tensor, Tensor]]:
    batches = Batches(steps, training.recipe.batch, processes.rank(), processes.count())
    on_gpu = training.device.type == "cuda"
    loaders = min(LOADERS, os.cpu_count() or 1) if on_gpu else 0
    return DataLoader(
        samples, batch_sampler=batches, num_workers=loaders, pin_memory=on_gpu, worker_init_fn=_in_one_thread
    )  # fmt: skip


def _in_one_thread(_: int) -> None:
    """A process that draws samples is one of several, each of which OpenCV would give all cores."""
    cv2.setNumThreads(0)


def _quiet() -> bool | None:
    """None lets tqdm look whether somebody watches."""
    return None if processes.rank() == 0 else True

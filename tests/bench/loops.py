"""The loops of `bench_train`: a network, a step that learns from a batch, and a source of batches.

The plain loop is what public notebooks for these slices do: an item is read from its TIFF files on demand, gets CLAHE
and a z-score, is scaled to the size of our patch and augmented like ours; PyTorch's defaults do the rest:
NCHW, float32, AdamW without options, the loss read after each step. Neither loop has processes for drawing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from metseg_trainer.data import Augmentation, Patient, SampleDataset, StepBatchSampler
from metseg_trainer.networks import create_network
from metseg_trainer.training import TrainingConfig, TrainState, deep_supervision_loss

__all__ = ["Loop", "PlainSlices", "forever", "numbered", "our_step", "plain_step", "speeds"]

Batch = tuple[Tensor, Tensor]
Step = Callable[[Batch], object]


@dataclass(frozen=True)
class Loop:
    """A network's title, its training step, and the source of its batches."""

    title: str
    how: str
    batches: Iterator[Batch]
    step: Step

    def images_per_s(self, steps: int, batch: int) -> float:
        """Images per second over some steps, drawing included."""
        begun = time.perf_counter()
        for _ in range(steps):
            self.step(next(self.batches))
        return steps * batch / (time.perf_counter() - begun)


def speeds(compared: Sequence[Loop], rounds: int, steps: int, batch: int) -> dict[tuple[str, str], list[float]]:
    """Images per second of each loop in each round; all take turns, and the first step of each does not count."""
    for loop in compared:
        loop.images_per_s(1, batch)
    found: dict[tuple[str, str], list[float]] = {(loop.title, loop.how): [] for loop in compared}
    for _ in range(rounds):
        for loop in compared:
            found[loop.title, loop.how].append(loop.images_per_s(steps, batch))
    return found


class PlainSlices(Dataset[Batch]):
    """Slices as a notebook reads them."""

    def __init__(self, patients: list[Patient], config: TrainingConfig) -> None:
        self._slices = [one for patient in patients for one in patient.slices]
        self._patch, self._augment = config.patch_size, Augmentation(config.patch_size, config.augmentation)
        self._clahe = cv2.createCLAHE(2.0, (8, 8))

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, number: int) -> Batch:
        one = self._slices[number]
        pixels = cv2.imread(str(one.image), cv2.IMREAD_COLOR)
        truth = cv2.imread(str(one.mask), cv2.IMREAD_GRAYSCALE)
        size = self._patch[::-1]
        pixels = cv2.merge([self._clahe.apply(plane) for plane in cv2.split(pixels)])
        pixels, truth = cv2.resize(pixels, size), cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        pixels, truth = self._augment(pixels, truth, number)
        values = pixels.astype(np.float32)
        values = (values - values.mean(axis=(0, 1))) / (values.std(axis=(0, 1)) + 1e-6)
        return torch.from_numpy(values.transpose(2, 0, 1)), torch.from_numpy((truth > 127)[None].astype(np.float32))


def plain_step(name: str, config: TrainingConfig) -> Step:
    """A notebook's training step."""
    network = create_network(name, config.base_width).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)

    def step(batch: Batch) -> object:
        slices, truth = batch
        optimizer.zero_grad()
        loss = deep_supervision_loss(network.supervised_outputs(slices), truth, config.loss)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(name: str, config: TrainingConfig) -> Step:
    """The training step of `fit`."""
    state = TrainState(name, config, 1_000_000)
    return lambda batch: state.train_step(*batch, stop=False)


def forever(data: PlainSlices, batch: int) -> Iterator[Batch]:
    """Batches of a notebook, epoch after epoch."""
    while True:
        yield from DataLoader(data, batch, shuffle=True, drop_last=True)


def numbered(samples: SampleDataset, batch: int) -> Iterator[Batch]:
    """Batches as `fit` draws them on a CPU."""
    yield from DataLoader(samples, batch_sampler=StepBatchSampler(range(1_000_000), batch))

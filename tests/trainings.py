"""Trainings of a few steps on phantoms, for processes that end badly: what runs in them has to be importable."""

import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg.errors import MetsegError
from metseg_trainer.data.samples import Batches, Samples, Study, prepare
from metseg_trainer.training import checkpoints, distributed
from metseg_trainer.training.config import PRESETS, Recipe
from metseg_trainer.training.fit import fit
from metseg_trainer.training.trainer import Training

EPOCHS, STEPS = 2, 3
RECIPE = replace(
    PRESETS["smoke"], base_width=2, epochs=EPOCHS, samples=STEPS * 4, batch=4, patch=(32, 32), shares={"whole": 1.0}
)
NETWORK = "attention-unet"
NEVER, ALWAYS = 1e9, 0.0

_context = get_context("forkserver")
_context.set_forkserver_preload(["albumentations", "scipy.stats", "torch.utils.tensorboard"])


@cache
def studies() -> list[Study]:
    """Two patients to learn from and one to be judged by."""
    heads = [phantom.head(seed, slices=4, size_px=64, lesions=1) for seed in (1, 2, 3)]
    return [prepare(f"P{n}", head.volume, head.mask, Preprocessing()) for n, head in enumerate(heads)]


def train(folder: Path, keep_every_s: float = NEVER, recipe: Recipe = RECIPE, devices: int = 1) -> None:
    """The whole training, or what is left of it."""
    fit(
        NETWORK, recipe, {"whole": studies()[:2]}, studies()[2:], folder, devices=devices, keep_every_s=keep_every_s
    )  # fmt: skip


def started(work: Callable[..., None], *words: Any) -> ForkServerProcess:
    """A process of its own that does that work."""
    process = _context.Process(target=_alone, args=(work, words))
    process.start()
    return process


def ended(work: Callable[..., None], *words: Any) -> int | None:
    """The exit code of a process that did that work: 0, 3 for a KeyboardInterrupt, or the signal that it died of."""
    process = started(work, *words)
    process.join(300)
    return process.exitcode


def _alone(work: Callable[..., None], words: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        work(*words)
    except KeyboardInterrupt:
        os._exit(3)


def killed_after(steps: int, folder: Path, keep_every_s: float) -> None:
    """A training that is killed once it has taken so many steps."""
    step, taken = Training.step, [0]

    def counted(self: Training, *words: Any, **more: Any) -> tuple[float, bool]:
        if taken[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        taken[0] += 1
        return step(self, *words, **more)

    Training.step = counted  # type: ignore[method-assign]
    train(folder, keep_every_s)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_while_writing(checkpoint: int, folder: Path) -> None:
    """A training that is killed when half of its n-th checkpoint is on the disk."""
    write, written = checkpoints.write_bytes, [0]

    def halved(content: bytes | memoryview, path: Path) -> None:
        written[0] += path.suffix == ".ckpt"
        if written[0] == checkpoint:
            path.with_name(f"{path.name}.partial").write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(content, path)

    checkpoints.write_bytes = halved
    train(folder, ALWAYS)


def starved(folder: Path, told: Path) -> None:
    """A training whose process may take little more memory than it has; what it raises is written down."""
    with Path("/proc/self/statm").open() as figures:
        pages = int(figures.read().split()[0])
    ceiling = pages * resource.getpagesize() + 256 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    try:
        train(folder, recipe=replace(RECIPE, patch=(2048, 2048), base_width=16))
    except MetsegError as error:
        told.write_text(f"{type(error).__name__}: {error.detail}")


def gradients(folder: Path, network: str, stop: distributed.Stop) -> None:
    """What one step would change, and the statistics that it has seen, in numbers too exact to hide a mistake."""
    torch.set_default_dtype(torch.float64)
    recipe = replace(RECIPE, batch=8, half=False)
    training = Training(network, recipe, 10)
    samples = Samples({"whole": studies()}, recipe)
    [numbers] = Batches(range(1), recipe.batch, distributed.rank(), distributed.count())
    slices, truth = (torch.stack(parts) for parts in zip(*(samples[number] for number in numbers), strict=True))
    training.loss(slices.double(), truth.double()).backward()
    if distributed.rank() == 0:
        found = {name: one.grad for name, one in training.network.named_parameters()}
        torch.save({"gradients": found, "buffers": dict(training.network.named_buffers())}, folder / "one.pt")
    torch.set_default_dtype(torch.float32)

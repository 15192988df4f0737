"""Trainings of a few steps on phantoms, for processes that crash: what runs in them must be importable."""

import hashlib
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, BinaryIO

import torch

from metseg import phantom
from metseg.atomic_io import atomic_write
from metseg.contracts import Preprocessing
from metseg.errors import MetsegError
from metseg_trainer.data import PreparedStudy, SampleDataset, Source, StepBatchSampler, prepare_study
from metseg_trainer.networks import NETWORKS, SegmentationNetwork
from metseg_trainer.training import PRESETS, TrainingConfig, TrainState, checkpoints, distributed, train_network

EPOCHS, STEPS = 2, 3


def with_sampling(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """The config with other shares and probabilities of samples."""
    return replace(config, sampling=replace(config.sampling, **changes))


CONFIG = with_sampling(
    replace(
        PRESETS["smoke"], base_width=2, epochs=EPOCHS, samples_per_epoch=STEPS * 4, batch_size=4, patch_size=(32, 32)
    ),
    source_shares={"whole": 1.0},
)
NETWORK = "attention-unet"
NEVER, ALWAYS = 1e9, 0.0

_context = get_context("forkserver")
_context.set_forkserver_preload([__name__, "albumentations", "scipy.stats", "torch._dynamo", "torch.utils.tensorboard"])


def sample_dataset(sources: Mapping[Source, Sequence[PreparedStudy]], config: TrainingConfig) -> SampleDataset:
    """The samples of a training with this config."""
    return SampleDataset(sources, config.sampling, config.augmentation, config.patch_size, config.seed)


@cache
def studies() -> list[PreparedStudy]:
    """Two patients for training and one for validation."""
    heads = [phantom.head(seed, slices=4, size_px=64, lesions=1) for seed in (1, 2, 3)]
    return [prepare_study(f"P{n}", head.volume, head.mask, Preprocessing()) for n, head in enumerate(heads)]


def train(folder: Path, checkpoint_every_s: float = NEVER, config: TrainingConfig = CONFIG, devices: int = 1) -> None:
    """Run the training, or the rest of it."""
    sources = {"whole": studies()[:2]}
    every_s = checkpoint_every_s
    train_network(NETWORK, config, sources, studies()[2:], folder, devices=devices, checkpoint_every_s=every_s)


def started(work: Callable[..., None], *words: Any) -> ForkServerProcess:
    """A separate process that does that work."""
    process = _context.Process(target=_alone, args=(work, words))
    process.start()
    return process


def ended(work: Callable[..., None], *words: Any) -> int | None:
    """The exit code of a process that did that work: 0, 3 for a KeyboardInterrupt, or the signal that killed it."""
    process = started(work, *words)
    process.join(300)
    return process.exitcode


def _alone(work: Callable[..., None], words: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        work(*words)
    except KeyboardInterrupt:
        os._exit(3)


def killed_after(steps: int, folder: Path, checkpoint_every_s: float) -> None:
    """A training that is killed after some steps."""
    step, done = TrainState.train_step, [0]

    def counted(self: TrainState, *words: Any, **more: Any) -> tuple[float, bool]:
        if done[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        done[0] += 1
        return step(self, *words, **more)

    TrainState.train_step = counted  # type: ignore[method-assign]
    train(folder, checkpoint_every_s)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_while_writing(checkpoint: int, folder: Path) -> None:
    """A training that is killed when half of its n-th checkpoint is on disk."""
    written = [0]

    @contextmanager
    def killing(path: Path) -> Iterator[BinaryIO]:
        with atomic_write(path) as file:
            yield file
            written[0] += 1
            if written[0] == checkpoint:
                file.truncate(file.tell() // 2)
                os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.atomic_write = killing
    train(folder, ALWAYS)


def starved(folder: Path, error_file: Path) -> None:
    """A training with a tight memory limit; its error is written to a file."""
    with Path("/proc/self/statm").open() as figures:
        pages = int(figures.read().split()[0])
    ceiling = pages * resource.getpagesize() + 256 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    try:
        train(folder, config=replace(CONFIG, patch_size=(2048, 2048), base_width=16))
    except MetsegError as error:
        error_file.write_text(f"{type(error).__name__}: {error.detail}")


def gradients(folder: Path, stop: distributed.StopSignal) -> None:
    """The gradients of one step of each network and its batch statistics, in float64, where rounding hides no error."""
    for network in NETWORKS:
        _gradients(folder / f"{network}.pt", network)


def _gradients(file: Path, network: str) -> None:
    torch.set_default_dtype(torch.float64)
    config = replace(CONFIG, batch_size=8, amp=False)
    state = TrainState(network, config, 10)
    samples = sample_dataset({"whole": studies()}, config)
    [numbers] = StepBatchSampler(range(1), config.batch_size, distributed.rank(), distributed.world_size())
    slices, truth = (torch.stack(parts) for parts in zip(*(samples[number] for number in numbers), strict=True))
    state.compute_loss(slices.double(), truth.double()).backward()
    if distributed.rank() == 0:
        found = {name: one.grad for name, one in state.network.named_parameters()}
        torch.save({"gradients": found, "buffers": dict(state.network.named_buffers())}, file)
    torch.set_default_dtype(torch.float32)


_exports: dict[tuple[str, bytes], bytes] = {}


def export_once(network: SegmentationNetwork) -> bytes:
    """The ONNX file of a network; cached by weights, since an export takes half a minute."""
    from metseg_trainer.export.onnx_export import to_onnx  # not in child processes of this module

    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    key = (type(network).__name__, hashlib.sha256(weights.getvalue()).digest())
    if key not in _exports:
        _exports[key] = to_onnx(network)
    return _exports[key]

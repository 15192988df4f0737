"""One training shared by several processes: one for each GPU, or several on a CPU, joined by gloo.

Every process computes its share of each batch. Quantities of the whole batch (the statistics of batch normalisation and
the sums of the Dice loss) are summed over all shares, so that the gradients are those of one process.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch exports it, its annotations do not
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from metseg.errors import MetsegError, TrainingFailed

__all__ = [
    "StopSignal",
    "all_reduce_sum",
    "compute_device",
    "convert_sync_batchnorm",
    "data_parallel",
    "launch",
    "rank",
    "world_size",
]

JOIN_S = 0.5
"""How often the waiting process checks for a signal."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal(Protocol):
    """Whether the training was asked to stop."""

    def is_set(self) -> bool:
        """True from the first Ctrl-C on."""


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes that share the training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def compute_device() -> torch.device:
    """The device of this process: its GPU, if there are any."""
    return torch.device("cuda", rank()) if torch.cuda.is_available() else torch.device("cpu")


def launch(work: Callable[[StopSignal], None], processes: int) -> None:
    """Call `work` in each of several processes, and wait for all of them.

    The first SIGINT or SIGTERM asks them to stop where they can be resumed; the second one ends them.

    Args:
        work: called with the signal to stop; picklable if there is more than one process.
        processes: how many; 1 is this process.

    Raises:
        MetsegError: as raised by any of the processes.
        KeyboardInterrupt: all processes stopped because of a signal.
    """
    if processes == 1:
        with _set_by_signals(threading.Event()) as stop:
            work(stop)
        return
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, _set_by_signals(context.Event()) as stop:
        threads = max(1, torch.get_num_threads() // processes)
        group = _Group(processes, threads, Path(folder) / "store", stop, context.SimpleQueue(), work)
        joined = start_processes(_run_member, (group,), processes, join=False)  # type: ignore[no-untyped-call]
        try:
            while not joined.join(JOIN_S):
                pass
        except (ProcessRaisedException, ProcessExitedException) as error:
            if not group.failures.empty():
                raise group.failures.get() from error
            raise TrainingFailed(f"A process of the training ended: {str(error).strip().splitlines()[-1]}") from error
        finally:
            for process in joined.processes:
                process.kill()
        if stop.is_set():
            raise KeyboardInterrupt


@dataclass(frozen=True)
class _Group:
    """The shared state of a training's processes."""

    processes: int
    threads: int
    store: Path
    stop: StopSignal
    failures: Any
    work: Callable[[StopSignal], None]


def _run_member(number: int, group: _Group) -> None:
    """Run one process; a Ctrl-C reaches all of them, but only the one that started them handles it."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, lambda *_: None if os.getppid() == parent else os._exit(1))
    torch.set_num_threads(group.threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if torch.cuda.is_available():
        torch.cuda.set_device(number)
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=FileStore(str(group.store), group.processes),
        rank=number,
        world_size=group.processes,
    )
    try:
        with suppress(KeyboardInterrupt):  # the parent process raises it
            group.work(group.stop)
    except MetsegError as error:
        group.failures.put(error)
        raise
    finally:
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a regular interpreter exit sometimes aborts in one of gloo's threads


@contextmanager
def _set_by_signals(stop: Any) -> Iterator[Any]:  # noqa: ANN401  # an event of threads or of processes
    """Set the event at the first signal and restore the usual handlers for the second one."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in STOP_SIGNALS}

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def handle(_: int, __: FrameType | None) -> None:
        stop.set()
        restore()

    for one in STOP_SIGNALS:
        signal.signal(one, handle)
    try:
        yield stop
    finally:
        restore()


class _AllReduceSum(torch.autograd.Function):
    """A differentiable sum over all processes."""

    @staticmethod
    def forward(_: Any, share: Tensor) -> Tensor:  # noqa: ANN401  # autograd's context
        whole = share.detach().clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        whole = gradient.clone()
        dist.all_reduce(whole)
        return whole


def all_reduce_sum(share: Tensor) -> Tensor:
    """The sum of every process's share."""
    whole: Tensor = share if world_size() == 1 else _AllReduceSum.apply(share)  # type: ignore[no-untyped-call]
    return whole


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the shares of all processes; `torch.nn.SyncBatchNorm` runs on GPUs only."""

    def forward(self, features: Tensor) -> Tensor:
        """As `BatchNorm2d`, in the dtype of the weights while training."""
        if not self.training or world_size() == 1:
            return super().forward(features)
        wide = features.to(self.weight.dtype)
        pixels = wide.shape[0] * wide.shape[2] * wide.shape[3] * world_size()
        mean = all_reduce_sum(wide.sum(dim=(0, 2, 3))) / pixels
        centred = wide - mean[:, None, None]
        variance = all_reduce_sum(centred.square().sum(dim=(0, 2, 3))) / pixels
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * pixels / (pixels - 1), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)


def convert_sync_batchnorm(network: nn.Module) -> None:
    """Let every batch normalisation of a network use the whole batch; its parameters are kept."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d


def data_parallel(module: nn.Module) -> nn.Module:
    """The module with its gradients averaged over all processes; itself if there is only one."""
    if world_size() == 1:
        return module
    return nn.parallel.DistributedDataParallel(module, forward_sync_buffers=False)

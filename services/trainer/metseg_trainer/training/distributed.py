"""Processes: one training shared by several, as if it were one; each GPU has its own, or `gloo` joins CPUs.

Every process computes its share of each batch. What a batch is judged by as a whole, the statistics of batch
normalisation and the sums of the Dice loss, is added up over all shares: the gradients are those of one process.
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
from torch import Tensor, distributed, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch exports it, its annotations do not
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from metseg.errors import MetsegError, TrainingFailed

__all__ = ["Stop", "count", "device", "rank", "shared", "synchronised", "together", "total"]

JOIN_S = 0.5
"""How often the waiting process looks whether it was told to stop."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(Protocol):
    """Whether somebody wants the training to end."""

    def is_set(self) -> bool:
        """True from the first Ctrl-C on."""


def rank() -> int:
    """Which process this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """How many processes share the training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def device() -> torch.device:
    """What this process computes on: a GPU of its own where there are any."""
    return torch.device("cuda", rank()) if torch.cuda.is_available() else torch.device("cpu")


def together(work: Callable[[Stop], None], processes: int) -> None:
    """Call `work` in as many processes, and wait for all of them.

    The first SIGINT or SIGTERM asks them to stop where they can go on later; a second one does not ask.

    Args:
        work: what each does; it must be picklable if there is more than one.
        processes: 1 works in this process.

    Raises:
        MetsegError: what any of the processes raised.
        KeyboardInterrupt: all processes stopped because they were told to.
    """
    if processes == 1:
        with _told(threading.Event()) as stop:
            work(stop)
        return
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as meeting, _told(context.Event()) as stop:
        threads = max(1, torch.get_num_threads() // processes)
        team = _Team(processes, threads, Path(meeting) / "store", stop, context.SimpleQueue(), work)
        joined = start_processes(_member, (team,), processes, join=False)  # type: ignore[no-untyped-call]
        try:
            while not joined.join(JOIN_S):
                pass
        except (ProcessRaisedException, ProcessExitedException) as error:
            if not team.failures.empty():
                raise team.failures.get() from error
            raise TrainingFailed(f"A process of the training ended: {str(error).strip().splitlines()[-1]}") from error
        finally:
            for process in joined.processes:
                process.kill()
        if stop.is_set():
            raise KeyboardInterrupt


@dataclass(frozen=True)
class _Team:
    """What the processes of a training have in common."""

    processes: int
    threads: int
    meeting: Path
    stop: Stop
    failures: Any
    work: Callable[[Stop], None]


def _member(number: int, team: _Team) -> None:
    """What each process does; a Ctrl-C reaches all of them, but it is the one that started them that passes it on."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, lambda *_: None if os.getppid() == parent else os._exit(1))
    torch.set_num_threads(team.threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if torch.cuda.is_available():
        torch.cuda.set_device(number)
    distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=FileStore(str(team.meeting), team.processes),
        rank=number,
        world_size=team.processes,
    )
    try:
        with suppress(KeyboardInterrupt):  # told by `stop`, which the one that started them has set
            team.work(team.stop)
    except MetsegError as error:
        team.failures.put(error)
        raise
    finally:
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # an interpreter that closes in order now and then meets a thread of gloo's, and aborts


@contextmanager
def _told(stop: Any) -> Iterator[Any]:  # noqa: ANN401  # an event of threads or of processes
    """Set the event at the first signal and put the usual handlers back for the second one."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in STOP_SIGNALS}

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def tell(_: int, __: FrameType | None) -> None:
        stop.set()
        restore()

    for one in STOP_SIGNALS:
        signal.signal(one, tell)
    try:
        yield stop
    finally:
        restore()


class _Total(torch.autograd.Function):
    """A sum over all processes, through which gradients flow back to each."""

    @staticmethod
    def forward(_: Any, share: Tensor) -> Tensor:  # noqa: ANN401  # autograd's context
        whole = share.detach().clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        whole = gradient.clone()
        distributed.all_reduce(whole)
        return whole


def total(share: Tensor) -> Tensor:
    """The sum of every process's share."""
    whole: Tensor = share if count() == 1 else _Total.apply(share)  # type: ignore[no-untyped-call]
    return whole


class SynchronisedNorm(nn.BatchNorm2d):
    """Batch normalisation over the shares of all processes; `torch.nn.SyncBatchNorm` does so on GPUs alone."""

    def forward(self, features: Tensor) -> Tensor:
        """As `BatchNorm2d`, in the type of the weights while it trains."""
        if not self.training or count() == 1:
            return super().forward(features)
        wide = features.to(self.weight.dtype)
        pixels = wide.shape[0] * wide.shape[2] * wide.shape[3] * count()
        mean = total(wide.sum(dim=(0, 2, 3))) / pixels
        apart = wide - mean[:, None, None]
        variance = total(apart.square().sum(dim=(0, 2, 3))) / pixels
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * pixels / (pixels - 1), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (apart * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)


def synchronised(network: nn.Module) -> None:
    """Let every batch normalisation of a network, its parameters kept, see the whole batch."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedNorm


def shared(learner: nn.Module) -> nn.Module:
    """The module with its gradients averaged over all processes; itself where there is one."""
    if count() == 1:
        return learner
    return nn.parallel.DistributedDataParallel(learner, forward_sync_buffers=False)

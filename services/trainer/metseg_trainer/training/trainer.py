"""Training: a network, its optimiser, its schedule and its averaged weights, one step at a time."""

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from metseg.errors import LossNotFinite, TrainingFailed
from metseg_trainer.networks import SegmentationNetwork, channels_last, create
from metseg_trainer.training import distributed as processes
from metseg_trainer.training.config import Recipe
from metseg_trainer.training.losses import supervised

__all__ = ["Training", "half"]

CLIP_NORM = 1.0
WARM_UP = 0.1
"""The share of the steps in which the learning rate rises."""


def half(device: torch.device) -> torch.dtype | None:
    """The narrow type that a processor multiplies faster than float32, if it has one."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None


class _Learner(nn.Module):
    """From slices and their truth to the loss: what several processes share."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor, truth: Tensor) -> Tensor:
        """The loss of all supervised outputs, computed in the type of the truth."""
        branches = [logits.to(truth.dtype) for logits in self.network.branches(slices)]
        return supervised(branches, truth, processes.total)


class Training:
    """A network on its way, which can be put down between any two steps.

    Args:
        name: a key of `metseg_trainer.networks.NETWORKS`.
        recipe: how.
        steps: how many there will be.

    Attributes:
        averaged: the network with the moving average of its weights, which is what is evaluated.
        done: steps so far.
    """

    def __init__(self, name: str, recipe: Recipe, steps: int) -> None:
        self.name, self.recipe, self.done = name, recipe, 0
        self.device = processes.device()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            network = create(name, recipe.base_width)
        self.network = channels_last(network).to(self.device)
        average = get_ema_multi_avg_fn(recipe.averaging)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        processes.synchronised(self.network)
        self._learner = processes.shared(_Learner(self.network))
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, recipe.learning_rate, steps, pct_start=max(WARM_UP, min(2 / steps, 0.75))
        )
        self._narrow = half(self.device) if recipe.half else None
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._narrow is torch.float16)

    @property
    def averaged(self) -> SegmentationNetwork:
        """See the class."""
        network: SegmentationNetwork = self._average.module  # type: ignore[assignment]
        return network.eval()

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, slices: Tensor, truth: Tensor, *, stop: bool) -> tuple[float, bool]:
        """Learn from one batch, or from this process's share of it.

        Returns:
            The loss of the whole batch, and whether any process wants to `stop`.

        Raises:
            LossNotFinite: the loss or its gradient is not finite; the weights have not changed.
        """
        loss = self.loss(slices, truth)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        mean, norm_value, stopping = _agreed(loss.detach(), norm, stop=stop)
        if not math.isfinite(mean) or (not math.isfinite(norm_value) and not self._scaler.is_enabled()):
            raise LossNotFinite(f"The loss was no longer a number in step {self.done + 1}.")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self._schedule.step()
        self._average.update_parameters(self.network)
        self.done += 1
        return mean, stopping

    def loss(self, slices: Tensor, truth: Tensor) -> Tensor:
        """Of one batch, or of this process's share of it, ready to go backward from."""
        self.network.train()
        slices = slices.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with self.narrow():
            loss: Tensor = self._learner(slices, truth.to(self.device, non_blocking=True))
        return loss

    def narrow(self) -> torch.autocast:
        """The context in which the network computes in the narrow type, where there is one."""
        return torch.autocast(self.device.type, self._narrow, enabled=self._narrow is not None)

    def state(self) -> dict[str, Any]:
        """All that the following steps depend on."""
        return {
            "network": self.name,
            "recipe": asdict(self.recipe),
            "done": self.done,
            "averaged": self.averaged.state_dict(),
            "averagings": self._average.n_averaged,
            "weights": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            TrainingFailed: it is of another network or recipe.
        """
        if (state["network"], state["recipe"]) != (self.name, asdict(self.recipe)):
            raise TrainingFailed("The checkpoint is of another network or recipe; begin a run of another name.")
        self.done = state["done"]
        self._average.module.load_state_dict(state["averaged"])
        self._average.n_averaged.copy_(state["averagings"])
        self.network.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Take over the weights of an earlier run, its average too."""
        self.network.load_state_dict(weights)
        self._average.module.load_state_dict(weights)


def _agreed(loss: Tensor, norm: Tensor, *, stop: bool) -> tuple[float, float, bool]:
    """The mean loss of all processes, the norm, which is the same in each, and whether one of them wants to stop."""
    figures = torch.stack([loss.float() / processes.count(), norm.float(), norm.new_tensor(float(stop))])
    if processes.count() > 1:
        figures[1] /= processes.count()
        distributed.all_reduce(figures)
    mean, norm_value, stops = figures.tolist()
    return mean, norm_value, stops > 0

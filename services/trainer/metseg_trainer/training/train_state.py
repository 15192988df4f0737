"""TrainState: weights, their average, optimiser, schedule and loss scale, and the training step."""

import math
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from metseg.errors import LossNotFinite, TrainingFailed
from metseg_trainer.networks import SegmentationNetwork, channels_last, create_network
from metseg_trainer.training.config import LossConfig, TrainingConfig
from metseg_trainer.training.distributed import (
    all_reduce_sum,
    compute_device,
    convert_sync_batchnorm,
    data_parallel,
    world_size,
)
from metseg_trainer.training.losses import Sum, deep_supervision_loss

__all__ = ["TrainState", "amp_dtype"]


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """The 16-bit type that the device computes faster than float32, if any."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None


class Loss(Protocol):
    """A loss of all supervised outputs, like `deep_supervision_loss`."""

    def __call__(self, outputs: list[Tensor], truth: Tensor, config: LossConfig, all_reduce: Sum, /) -> Tensor:
        """A scalar, of logits and truth (batch, plane, row, column)."""


class _NetworkWithLoss(nn.Module):
    """From slices and their truth to the loss: the module that several processes share."""

    def __init__(self, network: SegmentationNetwork, config: LossConfig, loss: Loss) -> None:
        super().__init__()
        self.network, self._config, self._loss = network, config, loss

    def forward(self, slices: Tensor, truth: Tensor) -> Tensor:
        """The loss of all supervised outputs, computed in the dtype of the truth."""
        outputs = [logits.to(truth.dtype) for logits in self.network.supervised_outputs(slices)]
        return self._loss(outputs, truth, self._config, all_reduce_sum)


class TrainState:
    """A network in training, which can be saved between any two steps.

    Args:
        name: a key of `NETWORKS`.
        config: how it is trained.
        total_steps: of the whole training, for the schedule.
        loss: of all supervised outputs.

    Attributes:
        step: steps so far.
    """

    def __init__(self, name: str, config: TrainingConfig, total_steps: int, loss: Loss = deep_supervision_loss) -> None:
        self.name, self.config, self.step = name, config, 0
        self.device = compute_device()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = create_network(name, config.base_width)
        self.network = channels_last(network).to(self.device)
        average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
        self._ema = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        convert_sync_batchnorm(self.network)
        self._with_loss = data_parallel(_NetworkWithLoss(self.network, config.loss, loss))
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        warm_up = max(config.warm_up, min(2 / total_steps, 0.75))
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, config.learning_rate, total_steps, pct_start=warm_up
        )
        self._amp_dtype = amp_dtype(self.device) if config.amp else None
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._amp_dtype is torch.float16)

    @property
    def ema_network(self) -> SegmentationNetwork:
        """The network with the moving average of its weights, in evaluation mode."""
        network: SegmentationNetwork = self._ema.module  # type: ignore[assignment]
        return network.eval()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def train_step(self, slices: Tensor, truth: Tensor, *, stop: bool) -> tuple[float, bool]:
        """Train on one batch, or on this process's share of it.

        Args:
            slices: float32, (batch, 3, row, column).
            truth: float32 in [0, 1], (batch, plane, row, column), for the objective's loss.
            stop: whether this process was asked to stop.

        Returns:
            The loss of the whole batch, and whether any process was asked to stop.

        Raises:
            LossNotFinite: the loss or its gradient is not finite; the weights have not changed.
        """
        loss = self.compute_loss(slices, truth)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        mean_loss, mean_norm, stopping = _all_reduced(loss.detach(), norm, stop=stop)
        if not math.isfinite(mean_loss) or (not math.isfinite(mean_norm) and not self._scaler.is_enabled()):
            raise LossNotFinite(f"The loss or its gradient is not finite in step {self.step + 1}.")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self._schedule.step()
        self._ema.update_parameters(self.network)
        self.step += 1
        return mean_loss, stopping

    def compute_loss(self, slices: Tensor, truth: Tensor) -> Tensor:
        """The loss of one batch, or of this process's share of it.

        Args:
            slices: float32, (batch, 3, row, column).
            truth: float32 in [0, 1], (batch, plane, row, column), for the objective's loss.

        Returns:
            A scalar to call `backward` on.
        """
        self.network.train()
        slices = slices.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with self.autocast():
            loss: Tensor = self._with_loss(slices, truth.to(self.device, non_blocking=True))
        return loss

    def autocast(self) -> torch.autocast:
        """The context in which the network computes in 16 bits if that is faster."""
        return torch.autocast(self.device.type, self._amp_dtype, enabled=self._amp_dtype is not None)

    def state_dict(self) -> dict[str, Any]:
        """The complete state for the following steps."""
        return {
            "network": self.name,
            "outputs": self.network.outputs,
            "config": self.config.to_dict(),
            "step": self.step,
            "ema": self.ema_network.state_dict(),
            "ema_updates": self._ema.n_averaged,
            "weights": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            TrainingFailed: it is of another network or configuration.
        """
        own = (self.name, self.network.outputs, self.config.to_dict())
        if (state["network"], state["outputs"], state["config"]) != own:
            raise TrainingFailed(
                "The checkpoint is of another network or configuration; start a run with another name."
            )
        self.step = state["step"]
        self._ema.module.load_state_dict(state["ema"])
        self._ema.n_averaged.copy_(state["ema_updates"])
        self.network.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Start from the weights of an earlier run."""
        self.network.load_state_dict(weights)
        self._ema.module.load_state_dict(weights)


def _all_reduced(loss: Tensor, norm: Tensor, *, stop: bool) -> tuple[float, float, bool]:
    """The mean loss of all processes, the norm, equal in all, and whether one was asked to stop."""
    values = torch.stack([loss.float() / world_size(), norm.float(), norm.new_tensor(float(stop))])
    if world_size() > 1:
        values[1] /= world_size()
        dist.all_reduce(values)
    mean_loss, mean_norm, stops = values.tolist()
    return mean_loss, mean_norm, stops > 0

"""TrainingConfig: every parameter of a training, and the presets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pydantic import TypeAdapter

from metseg_trainer.data import AugmentationConfig, SamplingConfig

__all__ = ["PRESETS", "LossConfig", "TrainingConfig"]


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts of the loss; see `metseg_trainer.training.losses`.

    Attributes:
        batch_dice: of the Dice loss over the whole batch.
        slice_dice: of the mean Dice loss over the slices with a lesion.
        cross_entropy: of the binary cross-entropy.
    """

    batch_dice: float = 0.25
    slice_dice: float = 0.25
    cross_entropy: float = 0.5


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; stored in each checkpoint and in the run's config.json.

    Attributes:
        base_width: feature channels at full resolution.
        epochs: all are run, so that compared networks have the same number of steps.
        samples_per_epoch: slices drawn in one epoch.
        batch_size: slices in one step, over all devices.
        patch_size: rows and columns that a sample is padded and cropped to, in model pixels.
        learning_rate: the highest one of the one-cycle schedule (Smith & Topin 2019).
        warm_up: share of the steps in which the learning rate rises.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
        ema_decay: of the exponential moving average of the weights, which is evaluated.
        amp: whether the network computes in bfloat16 (float16 on older GPUs) where that is faster; weights, their
            updates, their average and the loss are float32 in any case.
        seed: of the split, the weights and all draws.
        loss: weights of its parts.
        sampling: which slices are drawn.
        augmentation: how they are changed.
    """

    base_width: int = 16
    epochs: int = 20
    samples_per_epoch: int = 1264
    batch_size: int = 8
    patch_size: tuple[int, int] = (112, 96)
    learning_rate: float = 1.5e-3
    warm_up: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    amp: bool = True
    seed: int = 2026
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch; samples that do not fill a batch are left out."""
        return self.samples_per_epoch // self.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def to_dict(self) -> dict[str, Any]:
        """The argument of `from_dict`, as plain values and tuples."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "TrainingConfig":
        """The config in a dictionary or in parsed JSON, which may have other keys too.

        Raises:
            ValueError: a value is missing or of another type.
        """
        own = {one.name for one in fields(cls)}
        if missing := own - content.keys():
            raise ValueError(f"no {', '.join(sorted(missing))} in the config")
        return TypeAdapter(cls).validate_python({name: content[name] for name in own})


_STANDARD = TrainingConfig()
PRESETS = {
    "smoke": replace(_STANDARD, base_width=4, epochs=2, samples_per_epoch=96, patch_size=(64, 64), ema_decay=0.5),
    "quick": replace(_STANDARD, base_width=8, epochs=6, samples_per_epoch=640, ema_decay=0.95),
    "standard": _STANDARD,
    "full": replace(
        _STANDARD, epochs=120, samples_per_epoch=5056, batch_size=32, learning_rate=2e-3, ema_decay=0.998
    ),
}  # fmt: skip
"""`smoke`: a minute on phantoms. `quick`: minutes on a CPU. `standard`: hours on a CPU. `full`: for a GPU."""

"""Recipe: every number that a training depends on, and the presets that people name."""

from dataclasses import dataclass, field, replace
from typing import Literal

Source = Literal["whole", "lone", "implanted", "stripped"]


def _shares() -> dict[Source, float]:
    return {"whole": 0.4, "lone": 0.2, "implanted": 0.25, "stripped": 0.15}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; stored in each checkpoint and in the run's record.

    Attributes:
        base_width: feature channels at full resolution.
        epochs: all of them are run, so that networks that are compared have the same number of steps.
        samples: slices drawn in one epoch.
        batch: slices in one step, over all devices.
        patch: rows and columns that a sample is padded and cut to, in model pixels.
        learning_rate: the highest one of the one-cycle schedule (Smith & Topin 2019).
        weight_decay: of AdamW.
        averaging: decay of the exponential moving average of the weights, which is what is evaluated.
        shares: how often a sample comes from each source (`metseg_trainer.data.prepared`).
        lesion_share: how often a slice with a lesion is drawn.
        transplant: how often a slice without a lesion is given another patient's.
        half: whether the network computes in bfloat16 (float16 on older GPUs) where that is faster; weights, their
            updates, their average and the loss are float32 in any case.
        seed: of the split, the weights and all draws.
    """

    base_width: int = 16
    epochs: int = 20
    samples: int = 1264
    batch: int = 8
    patch: tuple[int, int] = (112, 96)
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    averaging: float = 0.99
    shares: dict[Source, float] = field(default_factory=_shares)
    lesion_share: float = 0.5
    transplant: float = 0.5
    half: bool = True
    seed: int = 2026


_STANDARD = Recipe()
PRESETS = {
    "smoke": replace(_STANDARD, base_width=4, epochs=2, samples=96, patch=(64, 64), averaging=0.5),
    "quick": replace(_STANDARD, base_width=8, epochs=6, samples=640, averaging=0.95),
    "standard": _STANDARD,
    "full": replace(_STANDARD, epochs=120, samples=5056, batch=32, learning_rate=2e-3, averaging=0.998),
}
"""`smoke`: a minute on phantoms. `quick`: minutes on a CPU. `standard`: hours on a CPU. `full`: for a GPU."""

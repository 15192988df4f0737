"""Train the classifier of sequences, and choose when it abstains."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import trange

from metseg.imaging import ROLES
from metseg.inference import SEQUENCE_CLASSES
from metseg_trainer.data.sequences import Example
from metseg_trainer.networks import SequenceClassifier
from metseg_trainer.training.train_state import amp_dtype

__all__ = ["choose_limit", "confusion", "fit_sequence_classifier", "predict_sequences"]

Floats = npt.NDArray[np.floating[Any]]

STEPS, BATCH, RATE, DECAY = 3000, 64, 3e-3, 0.05
WARM_UP, SMOOTHING, EMA_DECAY = 0.1, 0.05, 0.998
SHIFT_PX, LEVEL, CONTRAST, GAMMA = 8, 0.2, 0.15, 0.15
"""By how much heads are moved, and the deviations of their level, contrast and curvature."""
CLASS_SHARES = {"pre": 0.24, "flair": 0.22, "post": 0.30, "t2": 0.10, "other": 0.14}
SOURCE_SHARES = {"lgg": 0.65, "brisc": 0.28, "phantom": 0.07}
"""Within a class; of the sources that it has."""
MAX_WRONG = 0.01
"""The share of validation examples that may be taken for a sequence that they are not."""
LIMITS = np.arange(0.5, 0.9991, 0.002)


def fit_sequence_classifier(examples: Sequence[Example], seed: int) -> SequenceClassifier:
    """Train a classifier by cross-entropy with smoothed labels; its weights are averaged over the last steps.

    Args:
        examples: of training patients.
        seed: of the weights and of all draws.

    Returns:
        The network, on the CPU, in evaluation mode.
    """
    rng = np.random.default_rng(seed)
    labels, shares, dtype = _labels(examples), _shares(examples), amp_dtype(torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SequenceClassifier().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
        averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=WARM_UP)
        objective = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        for _ in trange(STEPS, desc="sequences", unit="step", disable=None):
            chosen = rng.choice(len(examples), BATCH, p=shares)
            heads = _varied(_heads([examples[each] for each in chosen]), rng)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                scores = network(heads.contiguous(memory_format=torch.channels_last))
            objective(scores.float(), torch.from_numpy(labels[chosen])).backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
    trained: SequenceClassifier = averaged.module  # type: ignore[assignment]
    return trained.eval()


def predict_sequences(network: SequenceClassifier, examples: Sequence[Example]) -> Floats:
    """The probabilities that a classifier gives.

    Args:
        network: on the CPU, in evaluation mode.
        examples: single slices.

    Returns:
        (example, class), in the order of `SEQUENCE_CLASSES`.
    """
    parts = [_heads(examples[first : first + BATCH]) for first in range(0, len(examples), BATCH)]
    with torch.inference_mode():
        return np.concatenate([network(heads).softmax(dim=1).numpy() for heads in parts])


def choose_limit(probabilities: Floats, examples: Sequence[Example]) -> float:
    """The lowest limit at which few enough examples are taken for a sequence that they are not.

    Args:
        probabilities: (example, class).
        examples: of validation patients.

    Returns:
        A probability.
    """
    taken, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong, shares = (taken != _labels(examples)) & (taken < len(ROLES)), _shares(examples)
    limits = (limit for limit in LIMITS if float(shares[wrong & (certainty >= limit)].sum()) <= MAX_WRONG)
    return round(float(next(limits, LIMITS[-1])), 3)


def confusion(probabilities: Floats, examples: Sequence[Example], limit: float) -> dict[str, Counter[str]]:
    """How often each class was taken for which one; `unsure` where the limit is not reached.

    Args:
        probabilities: (example, class).
        examples: single slices.
        limit: of the probability.

    Returns:
        Counts by what the slice is taken for, by what it is.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in SEQUENCE_CLASSES}
    for one, row in zip(examples, probabilities, strict=True):
        counts[one.name][SEQUENCE_CLASSES[int(row.argmax())] if row.max() >= limit else "unsure"] += 1
    return counts


def _heads(examples: Sequence[Example]) -> Tensor:
    """float32, (example, 1, row, column)."""
    return torch.from_numpy(np.stack([one.head for one in examples])[:, np.newaxis]).float()


def _varied(heads: Tensor, rng: np.random.Generator) -> Tensor:
    """Heads moved and perhaps mirrored, of another level, contrast and curvature of brightness."""

    def draw(deviation: float) -> Tensor:
        return torch.from_numpy(rng.normal(0, deviation, (len(heads), 1, 1, 1))).float()

    heads = heads + draw(GAMMA) * heads.abs().sqrt() * heads.sign()
    heads = heads * draw(CONTRAST).exp() + draw(LEVEL)
    rows, columns = rng.integers(-SHIFT_PX, SHIFT_PX + 1, 2).tolist()
    heads = heads.roll((rows, columns), dims=(2, 3))
    return heads.flip(3) if rng.random() < 0.5 else heads


def _labels(examples: Sequence[Example]) -> npt.NDArray[np.int64]:
    return np.array([SEQUENCE_CLASSES.index(one.name) for one in examples], np.int64)


def _shares(examples: Sequence[Example]) -> Floats:
    """How often each example is drawn, so that classes and sources have their shares."""
    counts = Counter((one.name, one.source) for one in examples)
    sources = {name: {source for known, source in counts if known == name} for name in SEQUENCE_CLASSES}
    total = {name: sum(SOURCE_SHARES[source] for source in found) for name, found in sources.items()}
    weights = [
        CLASS_SHARES[one.name] * SOURCE_SHARES[one.source] / total[one.name] / counts[one.name, one.source]
        for one in examples
    ]
    return np.array(weights) / sum(weights)

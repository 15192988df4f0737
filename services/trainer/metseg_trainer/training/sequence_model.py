"""Fit the classifier of sequences and choose when it abstains; NumPy alone, since it has a few thousand weights."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metseg.imaging import ROLES
from metseg.inference import MAX_DEVIATIONS, SEQUENCE_CLASSES, SEQUENCE_FEATURES, SequenceModel
from metseg_trainer.data.sequences import Example

__all__ = ["confusion", "fit_sequence_model"]

Floats = npt.NDArray[np.floating[Any]]

MEMBERS, HIDDEN = 4, 16
"""Networks whose scores are averaged, and their hidden units."""
STEPS, BATCH, RATE, DECAY, NOISE = 6000, 256, 3e-3, 0.2, 0.1
CLASS_SHARES = {"pre": 0.24, "flair": 0.22, "post": 0.30, "t2": 0.10, "other": 0.14}
SOURCE_SHARES = {"lgg": 0.65, "brisc": 0.28, "phantom": 0.07}
"""Within a class; of the sources that it has."""
MAX_WRONG = 0.01
"""The share of validation examples that may be taken for a sequence that they are not."""
LIMITS = np.arange(0.5, 0.9991, 0.002)
BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8


def fit_sequence_model(
    train: Sequence[Example], validation: Sequence[Example], data: Sequence[str], seed: int = 0
) -> SequenceModel:
    """Fit the weights on training patients, and choose the limits on validation patients.

    Args:
        train: examples.
        validation: examples of other patients.
        data: what the examples are from, with licences.
        seed: of the weights and of all draws.

    Returns:
        The model.
    """
    features, labels = _arrays(train)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standardised, shares = ((features - mean) / scale).clip(-MAX_DEVIATIONS, MAX_DEVIATIONS), _weights(train)
    members = [_fit(standardised, labels, shares, seed + number) for number in range(MEMBERS)]
    hidden, hidden_bias, output, output_bias = (np.round(each, 3).tolist() for each in _average(members))
    model = SequenceModel(
        features=list(SEQUENCE_FEATURES),
        classes=list(SEQUENCE_CLASSES),
        mean=[float(f"{each:.6g}") for each in mean],
        scale=[float(f"{each:.6g}") for each in scale],
        hidden=hidden,
        hidden_bias=hidden_bias,
        output=output,
        output_bias=output_bias,
        slice_limit=1,
        study_limit=1,
        data=list(data),
    )
    limit = _limit(model, validation)
    return model.model_copy(update={"slice_limit": limit, "study_limit": limit})


def _average(members: Sequence[Sequence[Floats]]) -> list[Floats]:
    """One network whose scores are the mean of those of several: their hidden units side by side."""
    hidden, hidden_bias, output, output_bias = zip(*members, strict=True)
    joined = np.concatenate(output) / len(members)
    return [np.concatenate(hidden, axis=1), np.concatenate(hidden_bias), joined, np.mean(output_bias, axis=0)]


def confusion(model: SequenceModel, examples: Sequence[Example]) -> dict[str, Counter[str]]:
    """How often each class was taken for which one; `unsure` where the limit is not reached.

    Args:
        model: with its limits.
        examples: single slices.

    Returns:
        Counts by what the slice is taken for, by what it is.
    """
    features, labels = _arrays(examples)
    probabilities = np.exp(model.log_probabilities(features))
    counts: dict[str, Counter[str]] = {name: Counter() for name in SEQUENCE_CLASSES}
    for label, row in zip(labels, probabilities, strict=True):
        certain = row.max() >= model.slice_limit
        counts[SEQUENCE_CLASSES[label]][SEQUENCE_CLASSES[int(row.argmax())] if certain else "unsure"] += 1
    return counts


def _arrays(examples: Sequence[Example]) -> tuple[Floats, npt.NDArray[np.int64]]:
    labels = [SEQUENCE_CLASSES.index(one.name) for one in examples]
    return np.stack([one.features for one in examples]), np.array(labels, np.int64)


def _weights(examples: Sequence[Example]) -> Floats:
    """How often each example is drawn, so that classes and sources have their shares."""
    counts = Counter((one.name, one.source) for one in examples)
    sources = {name: {source for known, source in counts if known == name} for name in SEQUENCE_CLASSES}
    total = {name: sum(SOURCE_SHARES[source] for source in found) for name, found in sources.items()}
    weights = [
        CLASS_SHARES[one.name] * SOURCE_SHARES[one.source] / total[one.name] / counts[one.name, one.source]
        for one in examples
    ]
    return np.array(weights) / sum(weights)


def _fit(features: Floats, labels: npt.NDArray[np.int64], weights: Floats, seed: int) -> list[Floats]:
    """Weights of both layers by Adam with decay (Loshchilov and Hutter, ICLR 2019) and a falling rate."""
    rng = np.random.default_rng(seed)
    inputs, classes = features.shape[1], len(SEQUENCE_CLASSES)
    layers: list[Floats] = [
        rng.normal(0, np.sqrt(2 / inputs), (inputs, HIDDEN)), np.zeros(HIDDEN),
        rng.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, classes)), np.zeros(classes),
    ]  # fmt: skip
    first, second = [np.zeros_like(each) for each in layers], [np.zeros_like(each) for each in layers]
    drawn = rng.choice(len(features), (STEPS, BATCH), p=weights)
    for step, batch in enumerate(drawn, 1):
        rate = RATE * (1 - step / (STEPS + 1))
        noisy = features[batch] + rng.normal(0, NOISE, (BATCH, inputs))
        for index, gradient in enumerate(_gradients(layers, noisy, labels[batch])):
            first[index] = BETA_1 * first[index] + (1 - BETA_1) * gradient
            second[index] = BETA_2 * second[index] + (1 - BETA_2) * gradient**2
            unbiased = first[index] / (1 - BETA_1**step), second[index] / (1 - BETA_2**step)
            layers[index] = layers[index] * (1 - rate * DECAY) - rate * unbiased[0] / (np.sqrt(unbiased[1]) + TINY)
    return layers


def _gradients(layers: Sequence[Floats], features: Floats, labels: npt.NDArray[np.int64]) -> list[Floats]:
    """Of the cross-entropy, for each layer."""
    hidden_weights, hidden_bias, output_weights, output_bias = layers
    hidden = np.maximum(features @ hidden_weights + hidden_bias, 0)
    scores = hidden @ output_weights + output_bias
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(labels)), labels] -= 1
    shares /= len(labels)
    back = (shares @ output_weights.T) * (hidden > 0)
    return [features.T @ back, back.sum(axis=0), hidden.T @ shares, shares.sum(axis=0)]


def _limit(model: SequenceModel, validation: Sequence[Example]) -> float:
    """The lowest limit at which few enough examples of every class are taken for a sequence that they are not."""
    features, labels = _arrays(validation)
    probabilities = np.exp(model.log_probabilities(features))
    taken, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = (taken != labels) & (taken < len(ROLES))
    weights = _weights(validation)
    for limit in LIMITS:
        if float(weights[wrong & (certainty >= limit)].sum()) <= MAX_WRONG:
            return round(float(limit), 3)
    return round(float(LIMITS[-1]), 3)

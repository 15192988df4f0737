"""The examples that the classifier of sequences is trained on, and its fit."""

from itertools import islice

import numpy as np
import pytest

from metseg.imaging import ROLES
from metseg.inference import SEQUENCE_CLASSES, SEQUENCE_FEATURES
from metseg_trainer.data.sequences import make_examples, phantom_slices
from metseg_trainer.runs.sequences import format_confusion
from metseg_trainer.training import confusion, fit_sequence_model, sequence_model


@pytest.fixture(scope="module")
def examples():
    return list(make_examples(islice(phantom_slices(1, 2), 8), seed=0))


def test_every_sequence_is_an_example_as_it_is_stripped_and_distorted(examples):
    for role in ROLES:
        assert {one.variant for one in examples if one.name == role} == {"plain", "stripped", "distorted"}
    assert {one.name for one in examples} == set(SEQUENCE_CLASSES)
    assert all(one.features.shape == (len(SEQUENCE_FEATURES),) for one in examples)
    assert all(np.isfinite(one.features).all() for one in examples)


def test_equal_seeds_give_equal_examples(examples):
    again = next(make_examples(phantom_slices(1, 2), seed=0))
    assert again.name == examples[0].name and np.array_equal(again.features, examples[0].features)


def test_a_fit_learns_its_examples_and_abstains_below_its_limit(examples, monkeypatch):
    monkeypatch.setattr(sequence_model, "STEPS", 300)
    model = fit_sequence_model(examples, examples, ["phantoms"], seed=1)
    counts = confusion(model, examples)
    wrong = sum(taken[role] for name, taken in counts.items() for role in ROLES if role != name)
    assert wrong <= 0.02 * len(examples)
    assert sum(counts[role][role] for role in ROLES) > 0.7 * sum(counts[role].total() for role in ROLES)
    certain = confusion(model.model_copy(update={"slice_limit": 1.0}), examples)
    assert sum(taken["unsure"] for taken in certain.values()) > 0.9 * len(examples)
    assert "| flair, plain |" in format_confusion(model, examples)

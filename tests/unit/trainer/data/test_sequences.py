"""The examples that the classifier of sequences is trained on, its training and its export."""

from itertools import islice

import numpy as np
import pytest

from metseg.imaging import ROLES
from metseg.inference import SEQUENCE_CLASSES, SequenceModel, SequenceModelCard
from metseg_trainer.data.sequences import make_examples, phantom_slices
from metseg_trainer.export import sequence_classifier_to_onnx
from metseg_trainer.runs.sequences import format_confusion
from metseg_trainer.training import choose_limit, confusion, fit_sequence_classifier, predict_sequences, sequence_model


@pytest.fixture(scope="module")
def examples():
    return list(make_examples(islice(phantom_slices(1, 2), 8), seed=0))


@pytest.fixture(scope="module")
def network(examples):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence_model, "STEPS", 200)
        patch.setattr(sequence_model, "EMA_DECAY", 0.9)
        return fit_sequence_classifier(examples, seed=1)


def test_every_sequence_is_an_example_as_it_is_stripped_and_distorted(examples):
    for role in ROLES:
        assert {one.variant for one in examples if one.name == role} == {"plain", "stripped", "distorted"}
    assert {one.name for one in examples} == set(SEQUENCE_CLASSES)
    assert all(one.head.shape == SequenceModel.INPUT_PX and np.isfinite(one.head).all() for one in examples)


def test_equal_seeds_give_equal_examples(examples):
    again = next(make_examples(phantom_slices(1, 2), seed=0))
    assert again.name == examples[0].name and np.array_equal(again.head, examples[0].head)


def test_a_classifier_learns_its_examples_and_abstains_below_its_limit(examples, network):
    probabilities = predict_sequences(network, examples)
    limit = choose_limit(probabilities, examples)
    counts = confusion(probabilities, examples, limit)
    wrong = sum(taken[role] for name, taken in counts.items() for role in ROLES if role != name)
    assert wrong <= 0.02 * len(examples)
    assert sum(counts[role][role] for role in ROLES) > 0.7 * sum(counts[role].total() for role in ROLES)
    assert sum(taken["unsure"] for taken in confusion(probabilities, examples, 1.01).values()) == len(examples)


def test_the_exported_classifier_gives_the_probabilities_of_the_trained_one(examples, network):
    card = SequenceModelCard(slice_limit=0.9, study_limit=0.8, data=["phantoms"])
    exported = SequenceModel(sequence_classifier_to_onnx(network, card))
    heads = np.stack([one.head for one in examples]).astype(np.float32)
    assert np.allclose(np.exp(exported.log_probabilities(heads)), predict_sequences(network, examples), atol=1e-4)
    assert exported.card == card
    assert "| flair, plain |" in format_confusion(exported, examples)

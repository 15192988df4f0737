"""The figures of BraTS-METS: those of the challenge's own tools on the same cases, and unknown truth."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from metseg_trainer.evaluation.brats_mets import brats_mets
from metseg_trainer.evaluation.lesionwise import label_components

HERE = Path(__file__).parent
MM = (1.0, 1.0, 1.0)


def load_cases():
    """The module that `brats_reference.py` imports too, in its own environment."""
    spec = importlib.util.spec_from_file_location("lesion_cases", HERE / "lesion_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = load_cases()
REFERENCE = json.loads((HERE / "brats_reference.json").read_text())


@pytest.mark.parametrize("number", range(cases.CASES))
def test_the_figures_are_those_of_the_challenges_own_tools(number):
    truth, predicted = cases.lesion_case(number)
    own = brats_mets(predicted, label_components(truth), MM)
    found, missed, false, dice, surface_dice = REFERENCE[number]
    assert (own.found, own.missed, own.false) == (found, missed, false)
    if dice is None:
        assert (own.dice, own.surface_dice) == (None, None)
    else:
        assert own.dice == pytest.approx(dice, abs=1e-6)
        assert own.surface_dice == pytest.approx(surface_dice, abs=1e-6)


def test_the_reference_has_lesions_of_every_fate():
    assert len(REFERENCE) == cases.CASES
    assert all(sum(case[kind] for case in REFERENCE) > 10 for kind in range(3))
    assert any(case[3] is None for case in REFERENCE)


def test_a_component_in_unknown_truth_is_left_out():
    truth, predicted = np.zeros((2, 8, 16, 16))
    truth[2:6, 2:6, 2:6] = predicted[2:6, 2:6, 2:6] = predicted[2:5, 10:14, 10:14] = 1
    unknown = np.zeros(truth.shape, bool)
    unknown[3, 11, 11] = True
    counted, left_out = (brats_mets(predicted > 0, label_components(truth > 0), MM, mask) for mask in (None, unknown))
    assert (counted.found, counted.false, counted.dice) == (1, 1, 0.5)
    assert (left_out.found, left_out.false, left_out.dice) == (1, 0, 1.0)


def test_without_lesions_and_components_there_is_nothing_to_count():
    empty = np.zeros((4, 8, 8), bool)
    figures = brats_mets(empty, label_components(empty), MM)
    assert (figures.found, figures.missed, figures.false, figures.dice) == (0, 0, 0, None)

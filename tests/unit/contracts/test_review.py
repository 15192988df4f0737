"""The contract of a review: what it refuses, and what it is without any field."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metseg.contracts import Review
from metseg.contracts.review import MAX_RUNS


def correct(structure="core", **runs):
    return Review.model_validate({"corrections": {structure: runs}})


def test_an_empty_review_is_valid_and_allows_no_training():
    assert Review.model_validate_json("{}") == Review()
    assert not Review().may_be_used_for_training


@pytest.mark.parametrize(
    "runs", [[1], [-1, 1], [0, 0], [5, 2, 6, 1], [9, 1, 2, 1], [0, 1] * (MAX_RUNS + 1)], ids=lambda runs: str(runs[:4])
)
def test_runs_that_are_no_runs_are_refused(runs):
    with pytest.raises(ValidationError):
        correct(added=runs)


@given(st.lists(st.integers(0, 40), min_size=1), st.lists(st.integers(0, 40), min_size=1))
def test_a_voxel_is_added_or_erased_but_not_both(added, erased):
    one, other = as_runs(set(added)), as_runs(set(erased))
    if set(added) & set(erased):
        with pytest.raises(ValidationError, match="both added and erased"):
            correct(added=one, erased=other)
    else:
        correct(added=one, erased=other)


def as_runs(voxels):
    flat = np.zeros(max(voxels) + 1, bool)
    flat[list(voxels)] = True
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=False)).reshape(-1, 2)
    return [int(number) for first, stop in edges for number in (first, stop - first)]


def test_a_core_outside_of_the_whole_is_refused():
    with pytest.raises(ValidationError, match="which contains the core"):
        Review.model_validate({"corrections": {"core": {"added": [3, 4]}, "whole": {"erased": [6, 1]}}})


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": {"core": 1.5}},
        {"thresholds": {"core": True}},
        {"thresholds": {"oedema": 0.5}},
        {"joined": [[[0, 1, 2]]]},
        {"lesions": [{"voxel": [0, -1, 2]}]},
        {"lesions": [{"voxel": [0, 1, 2], "label": "a\\b"}]},
        {"lesions": [{"voxel": [0, 1, 2], "label": "a\nb"}]},
        {"lesions": [{"voxel": [0, 1, 2], "label": "x" * 65}]},
        {"lesions": [{"voxel": [0, 1, 2], "decision": "perhaps"}]},
        {"reviewer": "someone"},
    ],
)
def test_what_is_not_in_the_contract_is_refused(changes):
    with pytest.raises(ValidationError):
        Review.model_validate(changes)

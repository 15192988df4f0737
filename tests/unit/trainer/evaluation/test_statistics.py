"""Intervals and tests against scipy's and manual results."""

import numpy as np
import pytest
from scipy import stats

from metseg_trainer.evaluation import compare_networks, confidence_interval, measure

SCORES = np.random.default_rng(3).beta(8, 2, 18)


@pytest.mark.parametrize(("name", "function"), [("mean", np.mean), ("median", np.median)])
def test_intervals_agree_with_scipys_percentile_bootstrap(name, function):
    ours = confidence_interval(SCORES.tolist(), name)
    theirs = stats.bootstrap(
        (SCORES,), function, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_same_scores_have_the_same_interval():
    assert confidence_interval(SCORES.tolist()) == confidence_interval(SCORES.tolist())
    assert confidence_interval([0.5]).low == confidence_interval([0.5]).high == 0.5


def test_no_scores_give_no_interval_and_no_metric():
    with pytest.raises(ValueError, match="no values"):
        confidence_interval([])
    assert measure([None, None]) is None


def test_patients_without_a_value_are_left_out():
    figure = measure([0.2, None, 0.4])
    assert (figure.patients, figure.mean, figure.median) == (2, pytest.approx(0.3), pytest.approx(0.3))


def named(scores: np.ndarray) -> dict[str, float]:
    return {f"P{n}": float(score) for n, score in enumerate(scores)}


def test_a_network_that_is_always_better_wins():
    found = compare_networks(("A", "B"), (named(SCORES + 0.05), named(SCORES)))
    assert found.winner == "A"
    assert found.difference == pytest.approx(0.05)
    assert found.effect_size == pytest.approx(1)
    assert found.words.startswith("A is better by more than chance")
    assert compare_networks(("A", "B"), (named(SCORES), named(SCORES + 0.05))).winner == "B"
    assert "p < 0.001" in found.words, "no p is 0"


def test_a_difference_explained_by_chance_has_no_winner():
    noise = np.random.default_rng(0).normal(0, 0.05, len(SCORES))
    found = compare_networks(("A", "B"), (named(SCORES + noise - noise.mean()), named(SCORES)))
    assert found.winner is None
    assert found.words.startswith("Neither network is shown to be better")
    assert found.interval.low < 0 < found.interval.high


def test_p_is_wilcoxons_and_the_effect_size_matches_a_manual_result():
    gaps = np.array([0.01, -0.02, 0.03, 0.04, 0.05, 0.06])
    found = compare_networks(("A", "B"), (named(0.5 + gaps), named(np.full(6, 0.5))))
    assert found.p == pytest.approx(stats.wilcoxon(gaps).pvalue)
    assert found.effect_size == pytest.approx((1 + 3 + 4 + 5 + 6 - 2) / 21)


def test_equal_networks_are_equal():
    found = compare_networks(("A", "B"), (named(SCORES), named(SCORES)))
    assert (found.winner, found.p, found.effect_size, found.difference) == (None, 1, 0, 0)


def test_different_patients_are_not_compared():
    with pytest.raises(ValueError, match="same patients"):
        compare_networks(("A", "B"), ({"P0": 1.0}, {"P1": 1.0}))

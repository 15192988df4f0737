"""Statistics: confidence intervals, and whether two networks differ by more than chance."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import numpy as np
from scipy import stats

from metseg.contracts import Comparison, Interval, MetricSummary
from metseg.imaging import Float64Array

__all__ = ["compare_networks", "confidence_interval", "highest_mean", "measure"]

RESAMPLES = 10_000
SEED = 2026
CONFIDENCE = 0.95
SIGNIFICANT_P = 0.05
SMALLEST_P = 0.0005
"""Of three decimals that are not all 0."""

Statistic = Literal["mean", "median"]


def confidence_interval(values: Sequence[float], statistic: Statistic = "mean") -> Interval:
    """The 95% interval of a mean or median over patients, by the percentile bootstrap (Efron 1979).

    Args:
        values: one for each patient, who are resampled with replacement 10,000 times, always with the same seed.
        statistic: of the values.

    Returns:
        The interval.

    Raises:
        ValueError: there are no values.
    """
    return _interval(tuple(values), statistic)


@cache
def _interval(values: tuple[float, ...], statistic: Statistic) -> Interval:
    if not values:
        raise ValueError("no values to resample")
    if len(values) == 1:  # scipy needs two
        return Interval(low=values[0], high=values[0])
    low, high = _bootstrap(values, statistic, "two-sided")
    return Interval(low=low, high=high)


def highest_mean(values: Sequence[float]) -> float:
    """The one-sided upper 95% limit of a mean over patients, by the percentile bootstrap."""
    return values[0] if len(values) == 1 else _bootstrap(values, "mean", "less")[1]


def _bootstrap(
    values: Sequence[float], statistic: Statistic, alternative: Literal["two-sided", "less"]
) -> tuple[float, float]:
    interval = stats.bootstrap(
        (np.asarray(values, np.float64),),
        np.mean if statistic == "mean" else np.median,
        n_resamples=RESAMPLES,
        vectorized=True,
        axis=-1,
        confidence_level=CONFIDENCE,
        alternative=alternative,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def measure(values: Sequence[float | None]) -> MetricSummary | None:
    """A metric over patients, without those that have no value; None if none has one."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return MetricSummary(
        patients=len(known),
        mean=float(np.mean(known)),
        mean_interval=confidence_interval(known),
        median=float(np.median(known)),
        median_interval=confidence_interval(known, "median"),
    )


def compare_networks(titles: tuple[str, str], scores: tuple[Mapping[str, float], Mapping[str, float]]) -> Comparison:
    """Two networks on the same patients: Wilcoxon's signed-rank test, effect size and the interval of the difference.

    There is a winner only if the test's p is below 0.05 and the interval of the mean difference excludes 0. The
    effect size is the matched-pairs rank-biserial correlation (Kerby 2014): -1 to 1, 0 for none.

    Args:
        titles: of the networks.
        scores: of the networks, by patient.

    Returns:
        The comparison, with its words.

    Raises:
        ValueError: the patients differ (a bug of the caller).
    """
    first, second = scores
    if first.keys() != second.keys():
        raise ValueError("two networks are compared on the same patients only")
    differences = np.array([first[patient] - second[patient] for patient in sorted(first)])
    interval = confidence_interval(differences.tolist())
    p, effect = _signed_ranks(differences)
    significant = p < SIGNIFICANT_P and (interval.low > 0 or interval.high < 0)
    ahead = titles[0] if differences.mean() > 0 else titles[1]
    figures = (
        f"difference of mean patient Dice {differences.mean():+.3f} ({titles[0]} less {titles[1]}), 95% interval "
        f"{interval.low:+.3f} to {interval.high:+.3f}, Wilcoxon {_p_words(p)}, effect size {effect:+.2f}, "
        f"{len(differences)} patient{'' if len(differences) == 1 else 's'}"
    )
    words = f"{ahead} is better by more than chance: " if significant else "Neither network is shown to be better: "
    return Comparison(
        networks=titles,
        patients=len(differences),
        difference=float(differences.mean()),
        interval=interval,
        p=p,
        effect_size=effect,
        winner=ahead if significant else None,
        words=f"{words}{figures}.",
    )


def _p_words(p: float) -> str:
    return "p < 0.001" if p < SMALLEST_P else f"p = {p:.3f}"


def _signed_ranks(differences: Float64Array) -> tuple[float, float]:
    """Two-sided p and the rank-biserial effect size; pairs without a difference are left out."""
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    effect = float((ranks[nonzero > 0].sum() - ranks[nonzero < 0].sum()) / ranks.sum())
    return float(stats.wilcoxon(nonzero).pvalue), effect

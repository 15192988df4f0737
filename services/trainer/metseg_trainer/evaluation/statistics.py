"""Statistics: how sure a mean is, and whether two networks differ by more than chance."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from metseg.contracts import Comparison, Interval, MetricSummary

__all__ = ["compare_networks", "interval", "measure"]

RESAMPLES = 10_000
SEED = 2026
LEVEL = 0.95
SIGNIFICANT = 0.05

Statistic = Literal["mean", "median"]
Values = npt.NDArray[np.float64]


def interval(values: Sequence[float], statistic: Statistic = "mean") -> Interval:
    """The 95% interval of a mean or median over patients, by the percentile bootstrap (Efron 1979).

    Patients are resampled with replacement 10,000 times, always with the same seed.

    Raises:
        ValueError: there are no values.
    """
    return _interval(tuple(values), statistic)


@cache
def _interval(values: tuple[float, ...], statistic: Statistic) -> Interval:
    array = np.asarray(values, np.float64)
    if not len(array):
        raise ValueError("no values to resample")
    drawn = array[np.random.default_rng(SEED).integers(len(array), size=(RESAMPLES, len(array)))]
    resampled: Values = np.mean(drawn, axis=1) if statistic == "mean" else np.median(drawn, axis=1)
    low, high = np.quantile(resampled, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(low=float(low), high=float(high))


def measure(values: Sequence[float | None]) -> MetricSummary | None:
    """A figure over patients, those left out who have no value; None where nobody has."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return MetricSummary(
        patients=len(known),
        mean=float(np.mean(known)),
        mean_interval=interval(known),
        median=float(np.median(known)),
        median_interval=interval(known, "median"),
    )


def compare_networks(titles: tuple[str, str], scores: tuple[Mapping[str, float], Mapping[str, float]]) -> Comparison:
    """Two networks on the same patients: Wilcoxon's signed-rank test, effect size and the interval of the difference.

    There is a winner only where the test's p is below 0.05 and the interval of the mean difference leaves out 0. The
    effect size is the matched-pairs rank-biserial correlation (Kerby 2014): -1 to 1, 0 for none.

    Args:
        titles: of the networks.
        scores: of the networks, by patient.

    Raises:
        ValueError: the patients differ (a bug of the caller).
    """
    first, second = scores
    if first.keys() != second.keys():
        raise ValueError("two networks are compared on the same patients only")
    gaps = np.array([first[patient] - second[patient] for patient in sorted(first)])
    between = interval(gaps.tolist())
    p, effect = _signed_ranks(gaps)
    apart = p < SIGNIFICANT and (between.low > 0 or between.high < 0)
    ahead = titles[0] if gaps.mean() > 0 else titles[1]
    figures = (
        f"difference of mean patient Dice {gaps.mean():+.3f} ({titles[0]} less {titles[1]}), 95% interval "
        f"{between.low:+.3f} to {between.high:+.3f}, Wilcoxon p = {p:.3f}, effect size {effect:+.2f}, "
        f"{len(gaps)} patients"
    )
    words = f"{ahead} is better by more than chance: " if apart else "Neither network is shown to be better: "
    return Comparison(
        networks=titles,
        patients=len(gaps),
        difference=float(gaps.mean()),
        interval=between,
        p=p,
        effect_size=effect,
        winner=ahead if apart else None,
        words=f"{words}{figures}.",
    )


def _signed_ranks(gaps: Values) -> tuple[float, float]:
    """Two-sided p and the rank-biserial effect; pairs without a difference say nothing."""
    different = gaps[gaps != 0]
    if not len(different):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(different))
    effect = float((ranks[different > 0].sum() - ranks[different < 0].sum()) / ranks.sum())
    return float(stats.wilcoxon(different).pvalue), effect

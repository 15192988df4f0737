"""Choice: which of several variants is worth serving: the fastest whose Dice is shown to be close to the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np

from metseg.contracts import ModelCard
from metseg_trainer.evaluation.statistics import RESAMPLES, SEED, measure
from metseg_trainer.export import model_card as cards
from metseg_trainer.export.variants import Made
from metseg_trainer.reporting import charts, report
from metseg_trainer.runs.plan import TITLES

__all__ = ["MARGIN", "Judged", "Scores", "best_of", "chosen", "in_full_precision", "page", "shortfall", "text", "told"]

MARGIN = 0.005
"""How much patient Dice a faster variant may cost."""
LEVEL = 0.95

Scores = dict[str, float]


@dataclass(frozen=True, eq=False)
class Judged:
    """A variant, what it takes and what it is worth; Dice is by patient."""

    made: Made
    card: ModelCard
    validation: Scores
    test: Scores
    ms_a_slice: float = 0.0

    @property
    def mean(self) -> float:
        """Mean patient Dice of the validation patients."""
        return fmean(self.validation.values())


def shortfall(best: Scores, other: Scores) -> float:
    """The most, at 95%, that one variant's mean patient Dice lies below another's on the same patients.

    The one-sided limit of the mean paired difference, by the percentile bootstrap over patients.
    """
    gaps = np.array([best[patient] - other[patient] for patient in sorted(best)])
    drawn = gaps[np.random.default_rng(SEED).integers(len(gaps), size=(RESAMPLES, len(gaps)))]
    return float(np.quantile(drawn.mean(axis=1), LEVEL))


def best_of(judged: Sequence[Judged]) -> Judged:
    """The variant with the highest mean patient Dice on the validation patients."""
    return max(judged, key=lambda one: one.mean)


def chosen(judged: Sequence[Judged]) -> Judged:
    """The fastest variant that is, at 95%, no more than the margin below the best on the validation patients."""
    best = best_of(judged)
    near = [one for one in judged if shortfall(best.validation, one.validation) <= MARGIN]
    return min(near, key=lambda one: one.ms_a_slice)


def in_full_precision(pick: Judged, judged: Sequence[Judged]) -> Judged | None:
    """What an 8-bit variant was made from; None where the pick is in 32 bits itself."""
    if pick.made.variant.precision == "fp32":
        return None
    wide = pick.made.variant.model_copy(update={"precision": "fp32"})
    [source] = [one for one in judged if one.made.origin == pick.made.origin and one.made.variant == wide]
    return source


def told(judged: Sequence[Judged], threads: int) -> dict[str, Any]:
    """What frontier.json holds, fastest first; it names no patient."""
    best, pick = best_of(judged), chosen(judged)
    rows, highest = [], -1.0
    for one in sorted(judged, key=lambda one: one.ms_a_slice):
        place = {"on_front": one.mean > highest, "best": one is best, "chosen": one is pick}
        rows.append({**_row(one), "shortfall": shortfall(best.validation, one.validation), **place})
        highest = max(highest, one.mean)
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "margin": MARGIN,
        "validation_patients": len(best.validation),
        "test_patients": len(best.test),
        "threads": threads,
        "git_revision": cards.git_revision(),
        "packages": cards.packages(),
        "words": _words(best, pick),
        "variants": rows,
    }


def _row(one: Judged) -> dict[str, Any]:
    made, card, tested = one.made, one.card, measure(list(one.test.values()))
    return {
        "run": made.run,
        "key": made.key,
        "network": made.name,
        "title": TITLES[made.name],
        "base_width": made.base_width,
        "pruning_level": made.variant.pruning_level,
        "input_px": made.input_px,
        "precision": made.variant.precision,
        "parameters": cards.parameters(made.network),
        "mib": len(made.model) / 2**20,
        "ms_a_slice": one.ms_a_slice,
        "threshold": card.threshold,
        "smallest_lesion_px": card.smallest_lesion_px,
        "validation": {"mean": one.mean, "lowest": min(one.validation.values())},
        "test": None if tested is None else tested.model_dump(),
    }


def text(content: dict[str, Any]) -> str:
    """All variants, fastest first, for a terminal."""
    lines = [f"{'variant':58} {'ms':>7} {'MiB':>6} {'validation':>10} {'at most below':>13} {'test':>6}"]
    for row in content["variants"]:
        mark = "*" if row["chosen"] else "+" if row["on_front"] else " "
        lines.append(
            f"{mark} {row['run'] + '/' + row['key']:56} {row['ms_a_slice']:7.1f} {row['mib']:6.2f} "
            f"{row['validation']['mean']:10.4f} {row['shortfall']:13.4f} {row['test']['mean']:6.3f}"
        )
    return "\n".join([*lines, content["words"]])


def page(content: dict[str, Any]) -> str:
    """`frontier.html`: the same as a plot and a table."""
    rows = content["variants"]
    styles = {title: f"n{index}" for index, title in enumerate(dict.fromkeys(row["title"] for row in rows))}
    spots = [
        charts.Spot(
            row["ms_a_slice"],
            row["validation"]["mean"],
            f"{styles[row['title']]} {row['precision']}",
            f"{row['run']}/{row['key']}: {row['ms_a_slice']:.1f} ms, Dice {row['validation']['mean']:.4f}",
            row["on_front"],
            row["chosen"],
        )
        for row in rows
    ]
    best = max(row["validation"]["mean"] for row in rows)
    template = report.templates().get_template("frontier.html.j2")
    networks = [(style, title) for title, style in styles.items()]
    return template.render(told=content, chart=charts.scatter(spots, best - content["margin"]), networks=networks)


def _words(best: Judged, pick: Judged) -> str:
    served = (
        f"{pick.made.run}/{pick.made.key} takes {pick.ms_a_slice:.1f} ms a slice and reaches a mean patient Dice of "
        f"{pick.mean:.3f} on the validation patients, {fmean(pick.test.values()):.3f} on the test patients"
    )
    if pick is best:
        return f"{served}; it is the best, and none that is faster is shown to be within {MARGIN} of it."
    return (
        f"{served}; the best, {best.made.run}/{best.made.key}, takes {best.ms_a_slice:.1f} ms and reaches "
        f"{best.mean:.3f} and {fmean(best.test.values()):.3f}."
    )

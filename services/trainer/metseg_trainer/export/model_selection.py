"""Model selection: the fastest of several variants whose Dice is shown to be close to the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from metseg.contracts import ModelCard
from metseg_trainer.evaluation import highest_mean, measure
from metseg_trainer.export.variants import ExportedVariant
from metseg_trainer.training import git_revision, packages

__all__ = [
    "EvaluatedVariant",
    "best_variant",
    "format_frontier",
    "frontier_record",
    "full_precision_source",
    "select_variant",
    "shortfall",
]

MARGIN = 0.005
"""The largest loss of patient Dice of a faster variant."""

Scores = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class EvaluatedVariant:
    """A variant with its time and its Dice by patient."""

    exported: ExportedVariant
    card: ModelCard
    validation: Scores
    test: Scores
    ms_per_slice: float = 0.0

    @property
    def mean(self) -> float:
        """Mean patient Dice of the validation patients."""
        return fmean(self.validation.values())


def shortfall(best: Scores, other: Scores) -> float:
    """The one-sided 95% limit by which a variant's mean patient Dice is below another's on the same patients.

    Args:
        best: Dice by patient of the better one.
        other: of the other one.

    Returns:
        The one-sided limit of the mean paired difference, by the percentile bootstrap over patients.
    """
    return highest_mean([best[patient] - other[patient] for patient in sorted(best)])


def best_variant(evaluated: Sequence[EvaluatedVariant]) -> EvaluatedVariant:
    """The variant with the highest mean patient Dice on the validation patients."""
    return max(evaluated, key=lambda one: one.mean)


def select_variant(evaluated: Sequence[EvaluatedVariant]) -> EvaluatedVariant:
    """The fastest variant that is, at 95%, no more than the margin below the best on the validation patients."""
    best = best_variant(evaluated)
    near = [one for one in evaluated if shortfall(best.validation, one.validation) <= MARGIN]
    return min(near, key=lambda one: one.ms_per_slice)


def full_precision_source(selected: EvaluatedVariant, evaluated: Sequence[EvaluatedVariant]) -> EvaluatedVariant | None:
    """The 32-bit original of an 8-bit variant.

    Args:
        selected: the variant.
        evaluated: all variants.

    Returns:
        None if the selected one has 32 bits.
    """
    if selected.exported.variant.precision == "fp32":
        return None
    fp32 = selected.exported.variant.model_copy(update={"precision": "fp32"})
    [source] = [
        one for one in evaluated if one.exported.origin == selected.exported.origin and one.exported.variant == fp32
    ]
    return source


def frontier_record(evaluated: Sequence[EvaluatedVariant], threads: int) -> dict[str, Any]:
    """The content of frontier.json, which names no patient.

    Args:
        evaluated: all variants.
        threads: with which each was timed.

    Returns:
        Plain values; variants are sorted, fastest first.
    """
    best, selected = best_variant(evaluated), select_variant(evaluated)
    rows, highest = [], -1.0
    for one in sorted(evaluated, key=lambda one: one.ms_per_slice):
        marks = {"on_front": one.mean > highest, "best": one is best, "chosen": one is selected}
        rows.append({**_row(one), "shortfall": shortfall(best.validation, one.validation), **marks})
        highest = max(highest, one.mean)
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "margin": MARGIN,
        "validation_patients": len(best.validation),
        "test_patients": len(best.test),
        "threads": threads,
        "git_revision": git_revision(),
        "packages": packages(),
        "words": _summary(best, selected),
        "variants": rows,
    }


def _row(one: EvaluatedVariant) -> dict[str, Any]:
    exported, card, test = one.exported, one.card, measure(list(one.test.values()))
    return {
        "run": exported.run,
        "key": exported.key,
        "network": exported.network.name,
        "title": exported.network.title,
        "base_width": exported.base_width,
        "pruning_level": exported.variant.pruning_level,
        "input_px": exported.input_px,
        "precision": exported.variant.precision,
        "parameters": exported.network.parameter_count,
        "mib": len(exported.model) / 2**20,
        "ms_a_slice": one.ms_per_slice,
        "threshold": card.threshold,
        "min_volume_mm3": card.operating_points["whole"].min_volume_mm3,
        "validation": {"mean": one.mean, "lowest": min(one.validation.values())},
        "test": None if test is None else test.model_dump(),
    }


def format_frontier(record: Mapping[str, Any]) -> str:
    """The variants of a frontier.json, fastest first, for a terminal."""
    lines = [f"{'variant':58} {'ms':>7} {'MiB':>6} {'validation':>10} {'at most below':>13} {'test':>6}"]
    for row in record["variants"]:
        mark = "*" if row["chosen"] else "+" if row["on_front"] else " "
        lines.append(
            f"{mark} {row['run'] + '/' + row['key']:56} {row['ms_a_slice']:7.1f} {row['mib']:6.2f} "
            f"{row['validation']['mean']:10.4f} {row['shortfall']:13.4f} {row['test']['mean']:6.3f}"
        )
    return "\n".join([*lines, record["words"]])


def _summary(best: EvaluatedVariant, selected: EvaluatedVariant) -> str:
    served = (
        f"{selected.exported.run}/{selected.exported.key} takes {selected.ms_per_slice:.1f} ms per slice and reaches a "
        f"mean patient Dice of {selected.mean:.3f} on the validation patients, "
        f"{fmean(selected.test.values()):.3f} on the test patients"
    )
    if selected is best:
        return f"{served}; it is the best, and no faster one is shown to be within {MARGIN} of it."
    return (
        f"{served}; the best, {best.exported.run}/{best.exported.key}, takes {best.ms_per_slice:.1f} ms and reaches "
        f"{best.mean:.3f} and {fmean(best.test.values()):.3f}."
    )

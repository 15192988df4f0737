"""Promotion: whether a new version replaces the champion, evaluated on the same patients."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import torch

from metseg.contracts import STRUCTURES, ModelCard, Structure
from metseg.errors import MetsegError
from metseg.inference import OnnxPredictor
from metseg.registry import Registry
from metseg.storage import ObjectStore
from metseg_trainer.data import REVIEWED_SITE
from metseg_trainer.evaluation import (
    EvaluationPatient,
    EvaluationResult,
    StructureData,
    evaluate_model,
    structure_sets,
)

__all__ = [
    "Comparison",
    "PromotionDecision",
    "PromotionPolicy",
    "compare_patients",
    "compare_structures",
    "decide_promotion",
]

PromotionPolicy = Literal["better", "always", "never"]


@dataclass(frozen=True)
class PromotionDecision:
    """Whether to promote, and why, in sentences."""

    promote: bool
    reason: str


@dataclass(frozen=True)
class Comparison:
    """The mean Dice of a new version and of the champion on the same patients.

    Attributes:
        patients: who they are, as in "on all test patients".
        new: of the new version.
        old: of the champion.
    """

    patients: str
    new: float
    old: float

    def __str__(self) -> str:
        return f"{self.new:.4f} ({self.old:.4f}) {self.patients}"


Compare = Callable[[OnnxPredictor], Sequence[Comparison]]
"""Evaluates a champion on the patients that a new version was evaluated on."""


def decide_promotion(
    card: ModelCard, policy: PromotionPolicy, store: ObjectStore | None, compare: Compare, *, unseen: Collection[str]
) -> PromotionDecision:
    """Decide on a version.

    `better` requires that none of its means is lower than the champion's, and that one is higher or a structure is new.
    A champion that outlines the core is not replaced by a version that does not: its readers would lose lesions and
    target lesions.

    Args:
        card: of the new version.
        policy: whether to compare at all.
        store: of the registry; None if there is none.
        compare: called only if the champion must be evaluated.
        unseen: hashes of the splits of trainings that have seen none of the patients compared on.

    Returns:
        The decision with its reason.

    Raises:
        StoreUnavailable: the registry cannot be reached.
        DatasetError: a file of a patient has changed or gone.
    """
    if store is None:
        return PromotionDecision(False, "The training used no registry, so it promoted no version.")
    if policy != "better":
        return PromotionDecision(policy == "always", f"Promotion was set to `{policy}`.")
    registry = Registry(store)
    champion = registry.champion()
    if champion is None:
        return PromotionDecision(True, "There was no champion, so it is the first.")
    try:
        old_card, model = registry.load(champion.version)
        predictor = OnnxPredictor(old_card, model, torch.get_num_threads())
    except MetsegError as error:
        return PromotionDecision(
            True, f"The champion {champion.version} cannot be served ({error.detail}), so it is replaced."
        )
    if lost := old_card.operating_points.keys() - card.operating_points.keys():
        return PromotionDecision(
            False,
            f"It was registered but not promoted: the champion {champion.version} also outlines the {', '.join(lost)}, "
            "which would be lost. Promote it by hand if that is what you want.",
        )
    seen = "" if old_card.data.split_sha256 in unseen else ", which may have seen these patients in training"
    gained = card.operating_points.keys() - old_card.operating_points.keys()
    return _decide(compare(predictor), gained, f"{champion.version}{seen}")


def compare_patients(result: EvaluationResult, test: Iterable[EvaluationPatient], reviewed: Collection[str]) -> Compare:
    """Compare on the test patients and, where there are any, on the reviewed ones among them.

    Args:
        result: figures of the new version on them.
        test: those patients, read only if there is a champion to evaluate.
        reviewed: ids of those from reviewed studies.

    Returns:
        What evaluates a champion.
    """

    def compare(champion: OnnxPredictor) -> list[Comparison]:
        old = evaluate_model(champion.card.version, champion, test, {})
        compared = [Comparison("on all test patients", fmean(result.dice.values()), fmean(old.dice.values()))]
        return [*compared, *_on_reviewed("", result, old, reviewed)]

    return compare


def compare_structures(results: Mapping[str, EvaluationResult], data: StructureData) -> Compare:
    """Compare by structure on all sets of studies but `data.volumes`, and on the reviewed ones among them.

    The mean of a structure is over sets, since they differ much in size. A champion that does not outline the core is
    compared on the whole alone.

    Args:
        results: figures of the new version by set; see `evaluate_structures`.
        data: the sets.

    Returns:
        What evaluates a champion.
    """
    sets = structure_sets(replace(data, volumes=()))
    reviewed = {patient.id for patient in data.test_studies if patient.site == REVIEWED_SITE}

    def compare(champion: OnnxPredictor) -> list[Comparison]:
        compared = []
        for structure in (one for one in STRUCTURES if one in champion.operating_points):
            chosen = {name: one.studies() for name, one in sets.items() if one.structure == structure}
            old = {name: evaluate_model(champion.card.version, champion, one, {}) for name, one in chosen.items()}
            if pairs := [(results[name], one) for name, one in old.items() if one.patients]:
                compared += _on_sets(structure, pairs, reviewed)
        return compared

    return compare


def _on_sets(
    structure: Structure, pairs: Sequence[tuple[EvaluationResult, EvaluationResult]], reviewed: Collection[str]
) -> list[Comparison]:
    """New and old results of a structure by set: the means over sets, and those of the reviewed studies."""
    new, old = (fmean(fmean(result.dice.values()) for result in side) for side in zip(*pairs, strict=True))
    all_sets = Comparison(f"for the {structure} on all test studies", new, old)
    return [all_sets, *(one for pair in pairs for one in _on_reviewed(f"for the {structure} ", *pair, reviewed))]


def _on_reviewed(
    words: str, new: EvaluationResult, old: EvaluationResult, reviewed: Collection[str]
) -> list[Comparison]:
    """The comparison on the reviewed ones of some patients; none if there are none."""
    ids = [id for id in new.dice if id in reviewed]
    if not ids:
        return []
    means = [fmean(result.dice[id] for id in ids) for result in (new, old)]
    return [Comparison(f"{words}on the reviewed ones (n = {len(ids)})", *means)]


def _decide(compared: Sequence[Comparison], gained: Collection[str], champion: str) -> PromotionDecision:
    figures = f"Mean Dice, in brackets that of the champion {champion}: {', '.join(map(str, compared))}."
    is_worse = any(one.new < one.old for one in compared)
    is_better = any(one.new > one.old for one in compared) or bool(gained)
    if is_worse or not is_better:
        return PromotionDecision(False, f"It was registered but not promoted. {figures}")
    news = f" It also outlines the {', '.join(gained)}." if gained else ""
    return PromotionDecision(True, f"It was promoted. {figures}{news}")

"""Promotion: whether a new version replaces the champion, evaluated on the same patients."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from metseg.contracts import ModelCard
from metseg.errors import MetsegError
from metseg.inference import OnnxPredictor
from metseg.registry import Registry
from metseg.storage import ObjectStore
from metseg_trainer.evaluation import EvaluationPatient, EvaluationResult, evaluate_model

__all__ = ["PromotionDecision", "PromotionPolicy", "decide_promotion"]

PromotionPolicy = Literal["better", "always", "never"]


@dataclass(frozen=True)
class PromotionDecision:
    """Whether to promote, and why, in sentences."""

    promote: bool
    reason: str


def decide_promotion(
    card: ModelCard,
    result: EvaluationResult,
    policy: PromotionPolicy,
    store: ObjectStore | None,
    test: Iterable[EvaluationPatient],
) -> PromotionDecision:
    """Decide on a version.

    Args:
        card: of the new version.
        result: its figures on the test patients.
        policy: `better` requires a higher mean patient Dice than the champion's.
        store: of the registry; None if there is none.
        test: the test patients, read only if the champion must be evaluated.

    Returns:
        The decision with its reason.

    Raises:
        StoreUnavailable: the registry cannot be reached.
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
    old = evaluate_model(champion.version, predictor, test, {}).summary.mean
    new = result.summary.mean
    fairness = "" if old_card.data.split_sha256 == card.data.split_sha256 else " (which may have seen them in training)"
    figures = f"{new:.3f} against {old:.3f} for the champion {champion.version}{fairness} on the same patients"
    if new > old:
        return PromotionDecision(True, f"It was promoted: {figures}.")
    return PromotionDecision(False, f"It was registered but not promoted: {figures}.")

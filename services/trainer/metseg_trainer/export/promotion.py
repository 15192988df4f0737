"""Promote: whether a new version takes the champion's place, judged on the same patients."""

from dataclasses import dataclass
from typing import Literal

import torch

from metseg.contracts import ModelCard
from metseg.errors import MetsegError
from metseg.inference import OnnxPredictor
from metseg.registry import Registry
from metseg.storage import ObjectStore
from metseg_trainer.evaluation import EvaluationResult, Patients, evaluate

Policy = Literal["better", "always", "never"]


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, in sentences."""

    promote: bool
    reason: str


def decide(
    card: ModelCard,
    result: EvaluationResult,
    policy: Policy,
    store: ObjectStore | None,
    test: Patients,
) -> Decision:
    """Decide on a version.

    Args:
        card: of the new version.
        result: its figures on the test patients.
        policy: `better` asks for a higher mean patient Dice than the champion's, `always` and `never` ask nothing.
        store: of the registry; None where there is none.
        test: gives the test patients.

    Raises:
        StoreUnavailable: the registry cannot be asked.
    """
    if store is None:
        return Decision(False, "No store is configured, so nothing was registered.")
    if policy != "better":
        return Decision(policy == "always", f"Promotion was set to `{policy}`.")
    registry = Registry(store)
    champion = registry.champion()
    if champion is None:
        return Decision(True, "There was no champion, so it is the first.")
    try:
        old_card, model = registry.load(champion.version)
        predictor = OnnxPredictor(old_card, model, torch.get_num_threads())
    except MetsegError as error:
        return Decision(True, f"The champion {champion.version} cannot be served ({error.detail}), so it is replaced.")
    old = evaluate(champion.version, predictor, test(), {}).summary.mean
    new = result.summary.mean
    fairness = "" if old_card.data.split_sha256 == card.data.split_sha256 else " (which may have seen them in training)"
    figures = f"{new:.3f} against {old:.3f} for the champion {champion.version}{fairness} on the same patients"
    if new > old:
        return Decision(True, f"It was promoted: {figures}.")
    return Decision(False, f"It was registered but not promoted: {figures}.")

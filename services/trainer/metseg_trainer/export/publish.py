"""Conclude: the winner as ONNX with its card, the report, the record, and the decision who serves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from metseg.contracts import ModelCard
from metseg.imaging import Preprocessor, rendering
from metseg.inference import OnnxPredictor, segment
from metseg.registry import Registry
from metseg.storage import ObjectStore
from metseg_trainer.evaluation.evaluate_run import Judgement, test_patients
from metseg_trainer.export import model_card as cards
from metseg_trainer.export import out_of_distribution, promotion
from metseg_trainer.export.onnx_export import to_onnx, verify
from metseg_trainer.export.promotion import Policy
from metseg_trainer.reporting import report
from metseg_trainer.runs import run_store
from metseg_trainer.runs.plan import CONFIG, TITLES, Plan
from metseg_trainer.training.fit import CURVES

__all__ = ["Outcome", "conclude", "conclude_without_model"]

REPORT, ANONYMOUS_REPORT, RESULTS = "report.html", "report-anonymous.html", "results.json"
VERIFIED_SLICES = 8


@dataclass(frozen=True)
class Outcome:
    """What a run brought: where it lies, which version it published (None without a store) and what was decided."""

    folder: Path
    version: str | None
    verdict: str


def conclude(plan: Plan, judgement: Judgement, policy: Policy, store: ObjectStore | None) -> Outcome:
    """Export the winner, offer it to the registry and write the record.

    Raises:
        ModelRejected: the export does not compute what the network does.
        StoreUnavailable: the store is away.
    """
    card, model = _export(plan, judgement)
    (plan.folder / "model.onnx").write_bytes(model)
    (plan.folder / "card.json").write_text(card.model_dump_json(indent=2))
    (plan.folder / cards.MARKDOWN).write_text(cards.markdown(card))
    decision = promotion.decide(card, judgement.results[judgement.winner], policy, store, lambda: test_patients(plan))
    verdict = f"{comparison(judgement)} {decision.reason}"
    _report(plan, judgement, verdict, card, _examples(plan, judgement))
    if store is not None:
        run_store.keep(plan.run_folder, store)
        _publish(plan.folder, store, card, model, promoted=decision.promote)
    print(verdict)
    return Outcome(plan.folder, card.version if store is not None else None, verdict)


def conclude_without_model(
    plan: Plan, judgement: Judgement, reason: str, store: ObjectStore | None, *, pictured: bool = True
) -> Outcome:
    """Write the report and the record of a run that measures and brings no model into service.

    Args:
        plan: of the run.
        judgement: of its networks.
        reason: why it has no model, in sentences.
        store: for the record.
        pictured: whether the judgement's predictors have seen none of the test patients, so that pictures may be shown.

    Raises:
        StoreUnavailable: the store is away.
    """
    verdict = f"{comparison(judgement)} {reason}"
    _report(plan, judgement, verdict, None, _examples(plan, judgement) if pictured else [])
    if store is not None:
        run_store.keep(plan.run_folder, store)
    print(verdict)
    return Outcome(plan.folder, None, verdict)


def comparison(judgement: Judgement) -> str:
    """Whether a network won, in a sentence."""
    if judgement.comparison is not None:
        if judgement.comparison.winner is not None:
            return judgement.comparison.words
        why = "which has the higher mean" if judgement.comparison.difference else "the first of two equal ones"
        return f"{judgement.comparison.words} {TITLES[judgement.winner]}, {why}, was taken."
    [(name, result)] = judgement.results.items()
    return f"{TITLES[name]} alone was trained: mean patient Dice {result.summary.mean:.3f}."


def _export(plan: Plan, judgement: Judgement) -> tuple[ModelCard, bytes]:
    """The winner as ONNX with its card, checked against the network on real slices."""
    created_at, winner = datetime.now(UTC), judgement.winner
    predictor = judgement.predictors[winner]
    model = to_onnx(predictor.network)
    card = cards.write_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{winner}",
        created_at=created_at,
        title=TITLES[winner],
        network=predictor.network,
        model=model,
        preprocessing=plan.preprocessing,
        point=predictor.point,
        data=cards.describe_data(plan.patients, plan.audit, plan.split, implanted=plan.recipe.shares["implanted"] > 0),
        judged=cards.Judged(
            figures={TITLES[name]: result.summary for name, result in judgement.results.items()},
            evaluation={TITLES[name]: result.card() for name, result in judgement.results.items()},
            implanted={TITLES[name]: result.card() for name, result in judgement.implanted.items()},
            comparison=judgement.comparison,
        ),
        familiarity=out_of_distribution.of_patients(
            plan.side(plan.split.train), plan.side(plan.split.validation), plan.preprocessing
        ),
    )
    verify(OnnxPredictor(card, model, torch.get_num_threads()), predictor, _some_inputs(plan))
    return card, model


def _some_inputs(plan: Plan) -> list[npt.NDArray[np.float32]]:
    """Model inputs of a few slices of the test patients, one from the middle of each."""
    inputs = []
    for patient in islice(test_patients(plan), VERIFIED_SLICES):
        prepared = Preprocessor(plan.preprocessing).prepare(patient.volume)
        middle = len(prepared.pixels) // 2
        inputs.append(prepared.tensor(slice(middle, middle + 1)))
    return inputs


def _report(
    plan: Plan, judgement: Judgement, verdict: str, card: ModelCard | None, examples: Sequence[report.Example]
) -> None:
    """Write results.json, report.html and the report that may leave the house."""
    about = _record(plan, judgement, card)
    report.write_results(plan.folder / RESULTS, run=about, judgement=judgement, verdict=verdict)
    report.write_patients(plan.folder / run_store.PATIENTS, judgement)
    content: dict[str, Any] = {
        "run": about,
        "audit": plan.audit,
        "split": plan.split,
        "curves": {name: _rows(plan, name) for name in judgement.results},
        "judgement": judgement,
        "verdict": verdict,
        "examples": examples,
    }
    report.write(plan.folder / REPORT, **content)
    report.write(plan.folder / ANONYMOUS_REPORT, **content, anonymous=True)


def _publish(folder: Path, store: ObjectStore, card: ModelCard, model: bytes, *, promoted: bool) -> None:
    """The version, with the report that shows no patient."""
    registry = Registry(store)
    files = {name: (folder / kept).read_bytes() for name, kept in _PUBLISHED.items()}
    registry.publish(card, {"model.onnx": model, **files})
    if promoted:
        registry.promote(card.version)


_PUBLISHED = {"report.html": ANONYMOUS_REPORT, cards.MARKDOWN: cards.MARKDOWN}


def _examples(plan: Plan, judgement: Judgement) -> list[report.Example]:
    """The largest true slice of the winner's best, median and worst patients."""
    scores = judgement.results[judgement.winner].dice
    order = sorted(scores, key=lambda patient: -scores[patient])
    labels: dict[str, Literal["best", "median", "worst"]] = {
        order[-1]: "worst",
        order[len(order) // 2]: "median",
        order[0]: "best",
    }
    examples = []
    for patient in test_patients(plan):
        if patient.id not in labels:
            continue
        index = int(patient.truth.sum(axis=(1, 2)).argmax())
        masks = {name: segment(patient.volume, one).mask[index] for name, one in judgement.predictors.items()}
        picture = rendering.window_volume(patient.volume)[index]
        examples.append(report.Example(patient.id, labels[patient.id], picture, patient.truth[index], masks))
    return sorted(examples, key=lambda example: -scores[example.patient])


def _rows(plan: Plan, name: str) -> list[dict[str, float]]:
    path = plan.folder / name / CURVES
    rows: list[dict[str, float]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def _rows_of_parts(plan: Plan, name: str) -> list[list[dict[str, float]]]:
    return [json.loads(path.read_text()) for path in sorted(plan.run_folder.glob(f"*/{name}/{CURVES}"))]


def _record(plan: Plan, judgement: Judgement, card: ModelCard | None) -> report.RunRecord:
    """How the run went, for its report."""
    networks: dict[str, report.NetworkRecord] = {}
    for name, predictor in judgement.predictors.items():
        trainings = [_rows(plan, name)] if _rows(plan, name) else _rows_of_parts(plan, name)
        networks[name] = {
            "title": TITLES[name],
            "parameters": cards.parameters(predictor.network),
            "minutes": sum(row["seconds"] for rows in trainings for row in rows) / 60,
            "epochs": max(map(len, trainings), default=0),
            "threshold": predictor.threshold,
            "smallest_lesion_px": predictor.smallest_lesion_px,
        }
    data = cards.describe_data(plan.patients, plan.audit, plan.split, implanted=plan.recipe.shares["implanted"] > 0)
    trained_on = plan.run_folder / run_store.ENVIRONMENT
    about: report.RunRecord = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": plan.preset,
        "git_revision": cards.git_revision(),
        "networks": networks,
        "configuration": json.loads((plan.run_folder / CONFIG).read_text()),
        "environment": json.loads(trained_on.read_text()) if trained_on.exists() else run_store.environment(),
        "data_name": data.name,
        "data_licence": data.licence,
        "data_citations": data.citations,
        "data_sha256": data.sha256,
    }
    if card is not None:
        about["version"] = card.version
    return about

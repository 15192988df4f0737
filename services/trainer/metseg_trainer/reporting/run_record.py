"""RunRecord: how a run was trained, for its report and its results.json."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from metseg.contracts import ModelCard
from metseg_trainer.evaluation import RunEvaluation
from metseg_trainer.export import describe_data
from metseg_trainer.networks import network_title
from metseg_trainer.training import CONFIG, CURVES, Plan, environment, git_revision, read_learning_curves

__all__ = ["ENVIRONMENT", "NetworkRecord", "RunRecord", "network_rows", "record_run"]

ENVIRONMENT = "environment.json"


class NetworkRecord(TypedDict):
    """How one network was trained."""

    title: str
    parameters: int
    minutes: float
    epochs: int
    threshold: float
    min_volume_mm3: float


class RunRecord(TypedDict):
    """How a run was trained; `environment` and `configuration` are shown unchanged."""

    created_at: str
    preset: str
    git_revision: str
    networks: Mapping[str, NetworkRecord]
    configuration: Mapping[str, Any]
    environment: Mapping[str, Any]
    data_name: str
    data_licence: str
    data_citations: Sequence[str]
    data_sha256: str
    version: NotRequired[str]


def record_run(plan: Plan, evaluation: RunEvaluation, card: ModelCard | None) -> RunRecord:
    """Collect how a run was trained from its folder.

    Args:
        plan: of the run.
        evaluation: of its networks.
        card: of the model that was exported, if one was.

    Returns:
        The record.
    """
    networks: dict[str, NetworkRecord] = {}
    for name, predictor in evaluation.predictors.items():
        trainings = [read_learning_curves(folder) for folder in _training_folders(plan, name)]
        networks[name] = {
            "title": network_title(name),
            "parameters": predictor.network.parameter_count,
            "minutes": sum(row["seconds"] for rows in trainings for row in rows) / 60,
            "epochs": max(map(len, trainings), default=0),
            "threshold": predictor.operating_points["whole"].threshold,
            "min_volume_mm3": predictor.operating_points["whole"].min_volume_mm3,
        }
    data, trained_on = describe_data(plan), plan.run_folder / ENVIRONMENT
    record: RunRecord = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": plan.preset,
        "git_revision": git_revision(),
        "networks": networks,
        "configuration": json.loads((plan.run_folder / CONFIG).read_text()),
        "environment": json.loads(trained_on.read_text()) if trained_on.exists() else environment(),
        "data_name": data.name,
        "data_licence": data.licence,
        "data_citations": data.citations,
        "data_sha256": data.sha256,
    }
    if card is not None:
        record["version"] = card.version
    return record


def network_rows(run: RunRecord, evaluation: RunEvaluation) -> list[dict[str, Any]]:
    """One row of figures for each network.

    Args:
        run: how the networks were trained.
        evaluation: of the networks.

    Returns:
        Plain values by name.

    Raises:
        ValueError: the record lacks a network.
    """
    if missing := evaluation.results.keys() - run["networks"].keys():
        raise ValueError(f"the run's record lacks {', '.join(sorted(missing))}")
    return [
        {"network": name, "winner": name == evaluation.winner, **run["networks"][name], **result.summary.model_dump()}
        for name, result in evaluation.results.items()
    ]


def _training_folders(plan: Plan, network: str) -> list[Path]:
    """The folders in which a network was trained: the run's, or each fold's."""
    own = plan.folder / network
    if (own / CURVES).exists():
        return [own]
    return sorted(path.parent for path in plan.run_folder.glob(f"*/{network}/{CURVES}"))

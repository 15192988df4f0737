"""Publish: the winner of a run as ONNX with its card, and as a version of the registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import torch

from metseg.contracts import ModelCard
from metseg.imaging import Float32Array, Preprocessor
from metseg.inference import OnnxPredictor
from metseg.registry import MODEL, Registry
from metseg.storage import ObjectStore
from metseg_trainer.data import load_patient
from metseg_trainer.evaluation import RunEvaluation
from metseg_trainer.export.model_card import CardFigures, describe_data, make_card, save_card
from metseg_trainer.export.onnx_export import middle_slice, to_onnx, verify_export
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.networks import network_title
from metseg_trainer.training import Plan

__all__ = ["ExportedModel", "export_winner", "publish_version"]

VERIFIED_SLICES = 8


@dataclass(frozen=True)
class ExportedModel:
    """The bytes of an ONNX file and its card."""

    model: bytes
    card: ModelCard


def export_winner(plan: Plan, evaluation: RunEvaluation) -> ExportedModel:
    """Export the winner, verify it on real slices and write it with its card into the run's folder.

    Args:
        plan: of the run.
        evaluation: of its networks.

    Returns:
        The model with its card.

    Raises:
        ModelRejected: the export does not compute the same as the network.
    """
    created_at, winner = datetime.now(UTC), evaluation.winner
    predictor = evaluation.predictors[winner]
    model = to_onnx(predictor.network)
    card = make_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{winner}",
        created_at=created_at,
        network=predictor.network,
        model=model,
        preprocessing=plan.preprocessing,
        points=predictor.operating_points,
        data=describe_data(plan),
        figures=CardFigures(
            figures={network_title(name): result.summary for name, result in evaluation.results.items()},
            evaluation={network_title(name): result.card() for name, result in evaluation.results.items()},
            implanted={network_title(name): result.card() for name, result in evaluation.implanted.items()},
            comparison=evaluation.comparison,
        ),
        familiarity=reference_from_patients(plan.train_patients, plan.validation_patients, plan.preprocessing),
    )
    verify_export(OnnxPredictor(card, model, torch.get_num_threads()), predictor, _verification_inputs(plan))
    (plan.folder / MODEL).write_bytes(model)
    save_card(plan.folder, card)
    return ExportedModel(model, card)


def publish_version(store: ObjectStore, exported: ExportedModel, files: Mapping[str, Path], *, promote: bool) -> None:
    """Add a version to the registry.

    Args:
        store: of the registry.
        exported: the model with its card.
        files: additional ones, by their names in the version; none may name a patient.
        promote: whether it becomes the champion.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    registry = Registry(store)
    content = {name: path.read_bytes() for name, path in files.items()}
    registry.publish(exported.card, {MODEL: exported.model, **content})
    if promote:
        registry.promote(exported.card.version)


def _verification_inputs(plan: Plan) -> list[Float32Array]:
    """The middle slices of some test patients."""
    preprocessor = Preprocessor(plan.preprocessing)
    volumes = (load_patient(patient)[0] for patient in islice(plan.test_patients, VERIFIED_SLICES))
    return [middle_slice(preprocessor.prepare(volume)) for volume in volumes]

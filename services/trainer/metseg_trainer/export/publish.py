"""Publish: the winner of a run as ONNX with its card, and as a version of the registry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import torch

from metseg.contracts import ModelCard
from metseg.imaging import Preprocessor
from metseg.inference import OnnxPredictor
from metseg.registry import MODEL, Registry
from metseg.storage import ObjectStore
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.evaluation import RunEvaluation, TorchPredictor
from metseg_trainer.export.model_card import CardFigures, describe_data, make_card, save_card
from metseg_trainer.export.onnx_export import middle_slice, to_onnx, verify_export
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.networks import network_title
from metseg_trainer.training import Plan

__all__ = ["ExportedModel", "export_winner", "publish_version", "save_verified"]

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
    exported = ExportedModel(model, card)
    save_verified(exported, plan.folder, predictor, plan.test_patients)
    return exported


def save_verified(exported: ExportedModel, folder: Path, trained: TorchPredictor, patients: Iterable[Patient]) -> None:
    """Verify an export on the middle slices of some patients, and write it with its card.

    Args:
        exported: the model with its card.
        folder: for the files; exists.
        trained: the network that it was made from.
        patients: whom the network has not seen.

    Raises:
        ModelRejected: the export does not compute the same as the network.
        DatasetError: a file of a patient has changed or gone.
    """
    preprocessor = Preprocessor(exported.card.preprocessing)
    volumes = (load_patient(patient)[0] for patient in islice(patients, VERIFIED_SLICES))
    inputs = [middle_slice(preprocessor.prepare(volume)) for volume in volumes]
    verify_export(OnnxPredictor(exported.card, exported.model, torch.get_num_threads()), trained, inputs)
    (folder / MODEL).write_bytes(exported.model)
    save_card(folder, exported.card)


def publish_version(store: ObjectStore, card: ModelCard, files: Mapping[str, bytes], *, promote: bool) -> None:
    """Add a version to the registry.

    Args:
        store: of the registry.
        card: of the version.
        files: its models, and additional ones, by their names in the version; none may name a patient.
        promote: whether it becomes the champion.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    registry = Registry(store)
    registry.publish(card, files)
    if promote:
        registry.promote(card.version)

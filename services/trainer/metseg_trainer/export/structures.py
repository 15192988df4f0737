"""A network of core and whole as ONNX with its card, as the registry and `--local` take it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from metseg.contracts import DataCard, ModelCard, OperatingPoint, Structure
from metseg.imaging import Preprocessor
from metseg.inference import predict
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.data.structures import PREPROCESSING
from metseg_trainer.evaluation import TorchPredictor, choose_operating_point, evaluate_model, load_patients
from metseg_trainer.export.model_card import CardFigures, make_card
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.export.publish import ExportedModel, save_verified
from metseg_trainer.networks import SegmentationNetwork

__all__ = ["export_structures"]


def export_structures(
    network: SegmentationNetwork,
    folder: Path,
    core: OperatingPoint,
    patients: Mapping[str, Sequence[Patient]],
    data: DataCard,
) -> ModelCard:
    """Export a network, verify it on real slices, evaluate it on the test patients and write it with its card.

    Args:
        network: with two outputs.
        folder: for the files.
        core: the operating point of the core; that of the whole is chosen here, on the validation patients.
        patients: of gliomas by side: train, validation, test.
        data: what it was trained on.

    Returns:
        The card; its figures are of the whole.

    Raises:
        ModelRejected: the export does not compute what the network does.
        DatasetError: a file of a patient has changed or gone.
    """
    created_at = datetime.now(UTC)
    points: dict[Structure, OperatingPoint] = {"core": core, "whole": OperatingPoint()}
    points["whole"] = _choose_whole(TorchPredictor(network, PREPROCESSING, points), patients["validation"])
    trained = TorchPredictor(network, PREPROCESSING, points)
    model = to_onnx(network)
    result = evaluate_model(network.title, trained, load_patients(patients["test"]), {})
    card = make_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{network.name}-core",
        created_at=created_at,
        network=network,
        model=model,
        preprocessing=PREPROCESSING,
        points=points,
        data=data,
        figures=CardFigures(figures={network.title: result.summary}, evaluation={network.title: result.card()}),
        familiarity=reference_from_patients(patients["train"], patients["validation"], PREPROCESSING),
    )
    save_verified(ExportedModel(model, card), folder, trained, patients["test"])
    return card


def _choose_whole(predictor: TorchPredictor, patients: Sequence[Patient]) -> OperatingPoint:
    """The operating point with the highest mean patient Dice of the whole."""
    studies = []
    for patient in patients:
        volume, truth = load_patient(patient)
        voxel_mm3 = Preprocessor(PREPROCESSING).prepare(volume).geometry.voxel_mm3
        studies.append((predict(volume, predictor)["whole"], truth, voxel_mm3))
    return choose_operating_point(studies)

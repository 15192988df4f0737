"""A network of core and whole as ONNX with its card, as the registry and `--local` take it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from metseg.contracts import DataCard, FullPrecision, ModelCard, OperatingPoint, Variant
from metseg.imaging import Float32Array, Preprocessor
from metseg.inference import OnnxPredictor
from metseg.registry import FULL_PRECISION_MODEL, MODEL
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.data.structures import PREPROCESSING, read_brisc_index, read_brisc_slice
from metseg_trainer.evaluation import (
    WHOLE_SET,
    EvaluationResult,
    StructureData,
    TorchPredictor,
    choose_structure_points,
    evaluate_model,
    evaluate_structures,
    load_patients,
)
from metseg_trainer.export.model_card import CardFigures, make_card, save_card
from metseg_trainer.export.onnx_export import middle_slice, to_onnx, verify_export
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.export.variants import calibration_inputs
from metseg_trainer.networks import SegmentationNetwork

__all__ = ["ExportedStructures", "export_structures"]

MAX_DICE_LOSS = 0.005
"""The 8-bit model is served if its patient Dice of the whole is at most this much lower on validation patients."""
BRISC_STRIDE = 40
"""Every n-th training slice of BRISC takes part in setting the ranges of integers."""
VERIFIED_SLICES = 8


@dataclass(frozen=True, eq=False)
class ExportedStructures:
    """A model as it is served, and its figures.

    Attributes:
        card: of the model.
        predictor: the model.
        results: by set of studies; see `evaluate_structures`.
    """

    card: ModelCard
    predictor: OnnxPredictor
    results: Mapping[str, EvaluationResult]


def export_structures(
    network: SegmentationNetwork, folder: Path, data: StructureData, train: Sequence[Patient], described: DataCard
) -> ExportedStructures:
    """Export a network in 32 and in 8 bits, choose operating points, evaluate what is served and write the files.

    The 8-bit model is served, together with the 32-bit one, unless it loses too much Dice on the validation patients.

    Args:
        network: with two outputs.
        folder: for the files; exists.
        data: what it is evaluated on.
        train: glioma patients that it was trained on.
        described: what it was trained on, for the card.

    Returns:
        The served model with its figures.

    Raises:
        ModelRejected: the export does not compute what the network does.
        DatasetError: a file of a patient has changed or gone.
    """
    exact = to_onnx(network)
    source = OnnxPredictor(_draft(network, exact, described), exact, torch.get_num_threads())
    _verify(source, network, data.test)
    source = _at_chosen_points(source, exact, data)
    small = to_int8(exact, [*calibration_inputs(train, PREPROCESSING), *_brisc_inputs(data.brisc)])
    served = OnnxPredictor(_draft(network, small, described), small, torch.get_num_threads())
    served = _at_chosen_points(served, small, data)
    loss = _whole_dice(source, data) - _whole_dice(served, data)
    models = {MODEL: small, FULL_PRECISION_MODEL: exact}
    update: dict[str, Any] = {
        "variant": Variant(precision="int8", dice_loss=loss),
        "full_precision": FullPrecision(sha256=source.card.sha256, operating_points=source.card.operating_points),
    }
    if loss > MAX_DICE_LOSS:
        served, models, update = source, {MODEL: exact}, {}
    results = evaluate_structures(network.title, served, data)
    update |= _figures(network.title, results)
    update["familiarity"] = reference_from_patients(train, data.validation, PREPROCESSING)
    card = served.card.model_copy(update=update)
    (folder / FULL_PRECISION_MODEL).unlink(missing_ok=True)
    for name, content in models.items():
        (folder / name).write_bytes(content)
    save_card(folder, card)
    return ExportedStructures(card, served, results)


def _draft(network: SegmentationNetwork, model: bytes, described: DataCard) -> ModelCard:
    """The card of an exported network before anything was measured."""
    created_at = datetime.now(UTC)
    return make_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{network.name}-core",
        created_at=created_at,
        network=network,
        model=model,
        preprocessing=PREPROCESSING,
        points={"core": OperatingPoint(), "whole": OperatingPoint()},
        data=described,
        figures=CardFigures(),
    )


def _verify(exported: OnnxPredictor, network: SegmentationNetwork, patients: Sequence[Patient]) -> None:
    """Compare an export with its network on the middle slices of some patients."""
    trained = TorchPredictor(network, PREPROCESSING, exported.operating_points)
    preprocessor = Preprocessor(PREPROCESSING)
    volumes = (load_patient(patient)[0] for patient in islice(patients, VERIFIED_SLICES))
    verify_export(exported, trained, [middle_slice(preprocessor.prepare(volume)) for volume in volumes])


def _brisc_inputs(folder: Path) -> Iterator[Float32Array]:
    """Model inputs of post-contrast T1 alone."""
    for row in read_brisc_index(folder, "train")[::BRISC_STRIDE]:
        volume, _ = read_brisc_slice(folder, row.name)
        yield middle_slice(Preprocessor(PREPROCESSING).prepare(volume))


def _at_chosen_points(predictor: OnnxPredictor, model: bytes, data: StructureData) -> OnnxPredictor:
    """The model at the operating points that the validation patients choose."""
    points = choose_structure_points(predictor, data.validation)
    card = predictor.card.model_copy(update={"operating_points": points})
    return OnnxPredictor(card, model, torch.get_num_threads())


def _whole_dice(predictor: OnnxPredictor, data: StructureData) -> float:
    """Mean patient Dice of the whole on the validation patients."""
    return evaluate_model("", predictor, load_patients(data.validation), {}).summary.mean


def _figures(title: str, results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """The fields of a card that hold figures."""
    whole = results[WHOLE_SET]
    return {
        "figures": {title: whole.summary},
        "evaluation": {title: whole.card()},
        "further_evaluation": {name: result.card() for name, result in results.items() if result is not whole},
    }

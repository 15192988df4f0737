"""A network of the core, joined with a model of the whole, as ONNX with its card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from metseg.contracts import DataCard, FullPrecision, ModelCard, OperatingPoint, Structure, Variant
from metseg.imaging import Float32Array, Preprocessor, Volume
from metseg.inference import OnnxPredictor
from metseg.registry import FULL_PRECISION_MODEL, MODEL, read_card
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.data.structures import PREPROCESSING, read_brisc_index, read_brisc_slice
from metseg_trainer.evaluation import (
    STUDIES_WHOLE,
    WHOLE_SET,
    EvaluationPatient,
    EvaluationResult,
    StructureData,
    TorchPredictor,
    brisc_slices,
    choose_structure_points,
    evaluate_model,
    evaluate_structures,
    load_patients,
    volume_patients,
)
from metseg_trainer.export.composition import compose_structures, extract_whole
from metseg_trainer.export.model_card import CardFigures, make_card, save_card
from metseg_trainer.export.onnx_export import middle_slice, to_onnx, verify_export
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.export.variants import calibration_inputs
from metseg_trainer.networks import SegmentationNetwork

__all__ = ["ExportedStructures", "export_structures", "read_whole"]

MAX_DICE_LOSS = 0.005
"""The 8-bit model is served if its mean Dice of no structure is lower by more."""
BRISC_STRIDE = 40
"""Every n-th training slice of BRISC takes part in setting the ranges of integers."""
VERIFIED_SLICES = 8
COMPARED_SLICES = 200
MIRRORED_FROM = 0.5
"""The core's probability from which on a slice is predicted twice: false outlines are seldom found on both sides."""


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
    network: SegmentationNetwork,
    whole: Path,
    folder: Path,
    *,
    data: StructureData,
    train: Sequence[Patient],
    described: DataCard,
) -> ExportedStructures:
    """Export a network of the core in 32 and in 8 bits, join it with a model of the whole, evaluate and write both.

    The 8-bit model is served, together with the 32-bit one, unless it loses too much Dice of a structure.

    Args:
        network: of the core, with one output.
        whole: the folder of a version whose model of the whole is taken: at half the resolution, or made by this
            function. Its operating point of the whole is kept if no validation study shows a whole.
        folder: for the files; exists.
        data: what it is evaluated on.
        train: glioma patients, and studies whose core is known, that it was trained on.
        described: what it was trained on, for the card.

    Returns:
        The served model with its figures.

    Raises:
        NotFound: `whole` holds no card.
        ModelRejected: the export does not compute what the network does, or see `read_whole`.
        DatasetError: a file of a patient has changed or gone.
    """
    core = to_onnx(network)
    points: dict[Structure, OperatingPoint] = {
        "core": OperatingPoint(mirrored_from=MIRRORED_FROM), "whole": read_card(whole).operating_points["whole"],
    }  # fmt: skip
    _verify(core, network, described, [*data.test, *data.test_studies])
    exact = compose_structures(core, read_whole(whole, FULL_PRECISION_MODEL))
    source = _at_chosen_points(_draft(network, exact, described, points), exact, data)
    small = to_int8(core, [*calibration_inputs(train, PREPROCESSING), *_brisc_inputs(data.brisc)])
    small = compose_structures(small, read_whole(whole, MODEL))
    served = _at_chosen_points(_draft(network, small, described, points), small, data)
    exact_dice, dice = _dice(source, data), _dice(served, data)
    loss = max(exact_dice[structure] - dice[structure] for structure in dice)
    models = {MODEL: small, FULL_PRECISION_MODEL: exact}
    update: dict[str, Any] = {
        "variant": Variant(precision="int8", dice_loss=loss),
        "full_precision": FullPrecision(sha256=source.card.sha256, operating_points=source.card.operating_points),
    }
    if loss > MAX_DICE_LOSS:
        served, models, update = source, {MODEL: exact}, {}
    results = evaluate_structures(network.title, served, data)
    update |= _figures(network.title, results)
    post_slices = _axial_slices(data.brisc, "train"), _axial_slices(data.brisc, "validation")
    update["familiarity"] = reference_from_patients(
        train, [*data.validation, *data.validation_studies], PREPROCESSING, post_slices
    )
    card = served.card.model_copy(update=update)
    (folder / FULL_PRECISION_MODEL).unlink(missing_ok=True)
    for name, content in models.items():
        (folder / name).write_bytes(content)
    save_card(folder, card)
    return ExportedStructures(card, served, results)


def read_whole(folder: Path, name: str = MODEL) -> bytes:
    """The model of the whole in a version.

    Args:
        folder: of the version.
        name: of the file; that of the served model is read where it does not exist.

    Returns:
        An ONNX model.

    Raises:
        NotFound: the folder holds no card.
        ModelRejected: its model has both structures and was not joined from two.
    """
    path = folder / name
    model = (path if path.exists() else folder / MODEL).read_bytes()
    return extract_whole(model) if "core" in read_card(folder).operating_points else model


def _draft(
    network: SegmentationNetwork, model: bytes, described: DataCard, points: Mapping[Structure, OperatingPoint]
) -> ModelCard:
    """The card of an exported network before anything was measured."""
    created_at = datetime.now(UTC)
    return make_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{network.name}-core",
        created_at=created_at,
        network=network,
        model=model,
        preprocessing=PREPROCESSING,
        points=points,
        data=described,
        figures=CardFigures(),
    )


def _verify(model: bytes, network: SegmentationNetwork, described: DataCard, patients: Sequence[Patient]) -> None:
    """Compare an exported network with the original on the middle slices of some patients."""
    card = _draft(network, model, described, {"whole": OperatingPoint()})  # a card of one map needs that name
    exported, trained = OnnxPredictor(card, model, torch.get_num_threads()), TorchPredictor(network, PREPROCESSING)
    preprocessor = Preprocessor(PREPROCESSING)
    volumes = (load_patient(patient)[0] for patient in islice(patients, VERIFIED_SLICES))
    verify_export(exported, trained, [middle_slice(preprocessor.prepare(volume)) for volume in volumes])


def _brisc_inputs(folder: Path | None) -> Iterator[Float32Array]:
    """Model inputs of post-contrast T1 alone."""
    if folder is None:
        return
    for row in read_brisc_index(folder, "train")[::BRISC_STRIDE]:
        volume, _ = read_brisc_slice(folder, row.name)
        yield middle_slice(Preprocessor(PREPROCESSING).prepare(volume))


def _axial_slices(folder: Path | None, side: str) -> Iterator[Volume]:
    return (one.volume for one in brisc_slices(folder, side)) if folder else iter(())


def _at_chosen_points(card: ModelCard, model: bytes, data: StructureData) -> OnnxPredictor:
    """The model at the operating points that the validation patients choose."""
    threads = torch.get_num_threads()
    points = choose_structure_points(OnnxPredictor(card, model, threads), data.validation, data.validation_studies)
    return OnnxPredictor(card.model_copy(update={"operating_points": points}), model, threads)


def _dice(predictor: OnnxPredictor, data: StructureData) -> dict[Structure, float]:
    """Mean Dice by structure where it is known: on validation patients; of the core on slices of BRISC's training side.

    Drawn metastases of a few validation patients do not show so small a difference, and the validation side of BRISC
    chooses nothing. That the core was trained on these slices matters little where only the arithmetic differs.
    Without BRISC, the core is compared on the validation studies.
    """
    studies = data.validation_studies
    patients: dict[Structure, Iterator[EvaluationPatient]] = {
        "core": islice(brisc_slices(data.brisc, "train"), COMPARED_SLICES)
        if data.brisc
        else volume_patients(studies, "core"),
        "whole": chain(load_patients(data.validation), volume_patients(studies, "whole")),
    }
    results = {structure: evaluate_model("", predictor, one, {}) for structure, one in patients.items()}
    return {structure: result.summary.mean for structure, result in results.items() if result.patients}


def _figures(title: str, results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """The fields of a card that hold figures: first those of the whole, if that is known of test patients."""
    first = next((name for name in (WHOLE_SET, STUDIES_WHOLE) if name in results), None)
    further = {"further_evaluation": {name: result.card() for name, result in results.items() if name != first}}
    if first is None:
        return further
    return {"figures": {title: results[first].summary}, "evaluation": {title: results[first].card()}, **further}

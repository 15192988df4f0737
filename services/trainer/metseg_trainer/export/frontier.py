"""Frontier: the cost of faster models in Dice, and the choice of the variant to serve.

Every variant of a run's networks, and of further runs on the same split, is evaluated on the validation patients at
the operating point chosen on them, and timed in turn with all others. They also choose the variant that serves; the
test patients only measure it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from metseg.contracts import FullPrecision, ModelCard, OperatingPoint, Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import Float32Array, Mask, Preprocessor, Volume, select_components
from metseg.inference import OnnxPredictor, predict
from metseg.registry import CARD, FULL_PRECISION_MODEL, MODEL
from metseg_trainer.data import SPLIT, Patient, load_patient, read_split
from metseg_trainer.evaluation import (
    TorchPredictor,
    choose_operating_point,
    dice,
    evaluate_model,
    implanted_patients,
    load_patients,
)
from metseg_trainer.export.model_card import CardFigures, describe_data, make_card
from metseg_trainer.export.model_selection import (
    EvaluatedVariant,
    best_variant,
    frontier_record,
    full_precision_source,
    select_variant,
)
from metseg_trainer.export.onnx_export import middle_slice, verify_export
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.export.timing import time_in_turns
from metseg_trainer.export.variants import ExportedVariant, calibration_inputs, export_variants
from metseg_trainer.training import CONFIG, Plan, preprocessing_of, trained_networks

__all__ = ["compare_variants"]

FOLDER, RESULTS = "frontier", "frontier.json"


@dataclass(frozen=True, eq=False)
class _Case:
    """A patient with the truth."""

    id: str
    volume: Volume
    truth: Mask
    voxel_mm3: float


def compare_variants(plan: Plan, others: Sequence[Path], threads: int) -> dict[str, Any]:
    """Evaluate and time all variants, write `frontier.json`, and the selected variant with its card into `frontier/`.

    Args:
        plan: of the run.
        others: folders of further runs on the same split: other widths, other input sizes.
        threads: that one inference may use.

    Returns:
        The content of frontier.json; see `frontier_record`.

    Raises:
        DatasetError: another run has another split, so that it may have trained on the validation patients.
        ModelRejected: an export does not compute the same as its network.
    """
    for other in others:
        if read_split(other / SPLIT) != plan.split:
            raise DatasetError(
                f"The run in {other} has another split; it may have been trained on validation patients."
            )
    (plan.folder / FOLDER).mkdir(exist_ok=True)
    validation, test = ([_load(one) for one in side] for side in (plan.validation_patients, plan.test_patients))
    evaluated = [_evaluate(plan, one, validation, test, threads) for one in _variants(plan, others)]
    predictors = [OnnxPredictor(one.card, one.exported.model, threads) for one in evaluated]
    times = time_in_turns(predictors, [case.volume for case in validation])
    evaluated = [replace(one, ms_per_slice=ms) for one, ms in zip(evaluated, times, strict=True)]
    record = frontier_record(evaluated, threads)
    _write_selected(plan, evaluated, threads)
    (plan.folder / RESULTS).write_text(json.dumps(record, indent=2) + "\n")
    return record


def _variants(plan: Plan, others: Sequence[Path]) -> Iterator[ExportedVariant]:
    """The variants of the run and of further ones, each calibrated on the patients that all were trained on."""
    inputs: dict[Preprocessing, list[Float32Array]] = {}
    for folder in (plan.folder, *others):
        preprocessing = preprocessing_of(json.loads((folder / CONFIG).read_text()))
        if preprocessing not in inputs:
            inputs[preprocessing] = calibration_inputs(plan.train_patients, preprocessing)
        yield from export_variants(folder, trained_networks(folder), preprocessing, inputs[preprocessing])


def _load(patient: Patient) -> _Case:
    volume, truth = load_patient(patient)
    return _Case(patient.id, volume, truth, Preprocessor(Preprocessing()).prepare(volume).geometry.voxel_mm3)


def _evaluate(
    plan: Plan, exported: ExportedVariant, validation: Sequence[_Case], test: Sequence[_Case], threads: int
) -> EvaluatedVariant:
    """The variant at its operating point, which is chosen on the validation patients."""
    predictor = OnnxPredictor(_card(plan, exported, OperatingPoint()), exported.model, threads)
    if exported.variant.precision == "fp32":
        trained = TorchPredictor(exported.network, exported.preprocessing)
        verify_export(predictor, trained, _middle_slices(validation, exported.preprocessing))
    maps = [(one, predict(one.volume, predictor)["whole"]) for one in validation]
    point = choose_operating_point((probability, one.truth, one.voxel_mm3) for one, probability in maps)
    scores = {one.id: _dice(one, probability, point) for one, probability in maps}
    test_scores = {one.id: _dice(one, predict(one.volume, predictor)["whole"], point) for one in test}
    return EvaluatedVariant(exported, _card(plan, exported, point), scores, test_scores)


def _dice(case: _Case, probability: Float32Array, point: OperatingPoint) -> float:
    """The Dice of the mask that `metseg.inference.segment` would compute."""
    levels = 2 * (probability >= point.threshold).astype(np.uint8)
    return dice(select_components(levels, point.min_volume_mm3 / case.voxel_mm3), case.truth)


def _middle_slices(cases: Sequence[_Case], preprocessing: Preprocessing) -> list[Float32Array]:
    """The middle slice of each patient, as a model input."""
    preprocessor = Preprocessor(preprocessing)
    return [middle_slice(preprocessor.prepare(case.volume)) for case in cases]


def _card(
    plan: Plan, exported: ExportedVariant, point: OperatingPoint, figures: CardFigures | None = None
) -> ModelCard:
    created_at = datetime.now(UTC)
    card = make_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{exported.key}",
        created_at=created_at,
        network=exported.network,
        model=exported.model,
        preprocessing=exported.preprocessing,
        points={"whole": point},
        data=describe_data(plan),
        figures=figures or CardFigures(),
    )
    return card.model_copy(update={"variant": exported.variant})


def _write_selected(plan: Plan, evaluated: Sequence[EvaluatedVariant], threads: int) -> None:
    """The selected model and its card with its own test figures; with an 8-bit model, its source in 32 bits."""
    selected, folder = select_variant(evaluated), plan.folder / FOLDER
    exported, title = selected.exported, selected.exported.network.title
    predictor = OnnxPredictor(selected.card, exported.model, threads)
    result = evaluate_model(title, predictor, load_patients(plan.test_patients))
    implanted = evaluate_model(title, predictor, implanted_patients(plan.test_patients, plan.config.seed), {})
    figures = CardFigures(
        figures={title: result.summary},
        evaluation={title: result.card()},
        implanted={title: implanted.card()} if implanted.patients else {},
    )
    point = selected.card.operating_points["whole"]
    loss = best_variant(evaluated).mean - selected.mean
    changes: dict[str, Any] = {
        "variant": exported.variant.model_copy(update={"dice_loss": loss}),
        "familiarity": reference_from_patients(
            plan.train_patients, plan.validation_patients, exported.preprocessing
        ),
    }  # fmt: skip
    (folder / FULL_PRECISION_MODEL).unlink(missing_ok=True)
    if (source := full_precision_source(selected, evaluated)) is not None:
        (folder / FULL_PRECISION_MODEL).write_bytes(source.exported.model)
        changes["full_precision"] = FullPrecision(
            sha256=source.card.sha256, operating_points=source.card.operating_points
        )
    card = _card(plan, exported, point, figures).model_copy(update=changes)
    (folder / MODEL).write_bytes(exported.model)
    (folder / CARD).write_text(card.model_dump_json(indent=2))

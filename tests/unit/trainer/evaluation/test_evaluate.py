"""A whole evaluation."""

from dataclasses import replace

import numpy as np
import pytest
from tests.models import tiny_card, tiny_model

from metseg import phantom
from metseg.contracts import Evaluation, OperatingPoint, Preprocessing
from metseg.errors import ModelRejected
from metseg.inference import OnnxPredictor, segment
from metseg_trainer.evaluation import (
    CORRUPTIONS,
    EvaluationPatient,
    EvaluationResult,
    TorchPredictor,
    dice,
    evaluate_model,
)
from metseg_trainer.evaluation.brats_mets import BratsMets
from metseg_trainer.evaluation.candidates import Peaks
from metseg_trainer.evaluation.corruptions import SINGLE_SLICES
from metseg_trainer.evaluation.lesionwise import LesionwiseMetrics, TrueLesion
from metseg_trainer.evaluation.masks import MaskMetrics
from metseg_trainer.evaluation.result import PatientResult
from metseg_trainer.export.onnx_export import to_onnx, verify_export
from metseg_trainer.networks import create_network


@pytest.fixture(scope="module")
def patients():
    heads = [phantom.head(seed, slices=4, size_px=96, lesions=1) for seed in (1, 2)]
    return [EvaluationPatient.from_volume(f"P{n}", "ward", head.volume, head.mask) for n, head in enumerate(heads)]


@pytest.fixture(scope="module")
def tiny():
    model = tiny_model()
    return OnnxPredictor(tiny_card(model), model, threads=1)


def test_metrics_are_those_of_the_masks_that_serving_returns(patients, tiny):
    result = evaluate_model("tiny", tiny, patients)
    for patient in patients:
        assert result.dice[patient.id] == dice(segment(patient.volume, tiny).mask, patient.truth)
        single = np.concatenate([segment(one, tiny).mask for one in patient.volume.single_slices()])
        assert result.corrupted[SINGLE_SLICES][patient.id] == dice(single, patient.truth)


def test_every_corruption_is_evaluated_for_every_patient(patients, tiny):
    result = evaluate_model("tiny", tiny, patients)
    assert result.corrupted.keys() == {SINGLE_SLICES, *CORRUPTIONS}
    assert all(by.keys() == {"P0", "P1"} for by in result.corrupted.values())
    volume, truth = CORRUPTIONS["gamma-1.4"].apply(patients[0].volume, patients[0].truth)
    assert result.corrupted["gamma-1.4"]["P0"] == dice(segment(volume, tiny).mask, truth)


def test_without_corruptions_only_the_original_scans_are_evaluated(patients, tiny):
    assert evaluate_model("tiny", tiny, patients, {}).corrupted == {}


def test_a_constant_single_slice_counts_as_empty(patients, tiny):
    pixels = patients[0].volume.pixels.copy()
    pixels[0] = 0
    patient = EvaluationPatient.from_volume("P0", "ward", replace(patients[0].volume, pixels=pixels), patients[0].truth)
    single = evaluate_model("tiny", tiny, [patient]).corrupted[SINGLE_SLICES]["P0"]
    rest = [one for one in patient.volume.single_slices() if one is not None]
    found = np.concatenate([np.zeros((1, 96, 96), bool), *(segment(one, tiny).mask for one in rest)])
    assert single == dice(found, patient.truth)


def test_the_sequences_that_a_study_lacks_are_named(patients):
    assert patients[0].missing_sequences == ()
    without_pre = replace(patients[0].volume, present=(False, True, True))
    assert replace(patients[0], volume=without_pre).missing_sequences == ("pre-contrast",)


def scored(score: float, **more: float) -> EvaluationResult:
    scores = more or {"P0": score, "P1": score}
    return EvaluationResult("new", {id: _patient(one) for id, one in scores.items()})


def _patient(score: float) -> PatientResult:
    found = TrueLesion(7.0, score > 0, score, 180.0)
    lesions = LesionwiseMetrics((found, TrueLesion(3.0, False, 0.0, 14.0)), (4.0,), false_on_vessels=1)
    mask = MaskMetrics(score, score, None, 2.0, score, 0.1)
    return PatientResult(
        mask, lesions, BratsMets(1, 1, 1, score / 3, None), Peaks([score, 0.0], [0.8], 0.5), {"site": "A"}
    )


def test_the_summary_is_over_patients():
    result = scored(0, a=0.5, b=0.7, c=0.9)
    result.corrupted[SINGLE_SLICES] = {"a": 0.4, "b": 0.6, "c": 0.8}
    summary = result.summary
    assert (summary.patients, summary.lowest, summary.highest) == (3, 0.5, 0.9)
    assert (summary.mean, summary.median) == pytest.approx((0.7, 0.7))
    assert summary.std == pytest.approx(0.2)
    assert summary.mean_single_slices == pytest.approx(0.6)


def test_the_card_has_every_metric_and_no_name():
    result = scored(0, anna=0.5, ben=0.7, carl=0.9)
    card = result.card()
    assert card.measures["dice"].mean == pytest.approx(0.7)
    assert card.measures["dice"].mean_interval.low >= 0.5
    assert "precision" not in card.measures
    assert card.lesions.by_diameter["6 to 10 mm"].sensitivity == 1
    assert card.lesions.by_diameter["below 6 mm"].sensitivity == 0
    assert card.lesions.lesionwise_dice.mean == pytest.approx((0.5 + 0.7 + 0.9) / 3 / 3)
    assert card.lesions.brats_dice.mean == pytest.approx(0.7 / 3)
    assert card.lesions.brats_surface_dice is None
    assert card.lesions.false_positives.mean == 1
    assert card.lesions.false_positives_on_vessels == 1
    for id, one in result.patients.items():
        result.patients[id] = replace(one, lesions=replace(one.lesions, false_on_vessels=None))
    assert result.card().lesions.false_positives_on_vessels is None
    assert card.subgroups["site"]["A"].patients == 3
    text = card.model_dump_json()
    assert not any(name in text for name in ("anna", "ben", "carl"))
    assert Evaluation.model_validate_json(text) == card


def test_patients_are_grouped_by_thirds_of_lesion_volume(patients, tiny):
    three = [*patients, replace(patients[0], id="P2", truth=np.zeros_like(patients[0].truth))]
    result = evaluate_model("tiny", tiny, three, {})
    assert result.patients["P2"].groups["lesion volume"] == "smallest third"
    assert len({one.groups["lesion volume"] for one in result.patients.values()}) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_export_is_verified_and_a_wrong_one_refused(patients):
    network, other = create_network("attention-unet", 2).eval(), create_network("attention-unet", 2).eval()
    model = to_onnx(network)
    card = tiny_card(model).model_copy(update={"operating_points": {"whole": OperatingPoint()}})
    exported = OnnxPredictor(card, model, threads=1)
    tensors = [np.random.default_rng(0).normal(size=(1, 48, 32, 3)).astype(np.float32)]
    assert verify_export(exported, TorchPredictor(network, Preprocessing()), tensors) < 1e-4
    with pytest.raises(ModelRejected, match="differs"):
        verify_export(exported, TorchPredictor(other, Preprocessing()), tensors)

"""Figures by patient, and who may take the champion's place."""

from dataclasses import replace

import numpy as np
import pytest
from tests.models import tiny_card, tiny_model

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg.errors import ModelRejected
from metseg.objects import open_store
from metseg.predictor import OnnxPredictor
from metseg.registry import Registry
from metseg.segment import segment
from metseg.settings import Settings
from metseg_trainer.evaluate import EvaluationResult, TorchPredictor, dice, evaluate
from metseg_trainer.export import to_onnx, verify
from metseg_trainer.networks import create
from metseg_trainer.promote import decide


@pytest.fixture(scope="module")
def patients():
    heads = [phantom.head(seed, slices=4, size_px=96, lesions=1) for seed in (1, 2)]
    return [(f"P{n}", head.volume, head.mask) for n, head in enumerate(heads)]


@pytest.fixture
def store(tmp_path):
    store = open_store(Settings(store_directory=tmp_path / "store"))
    store.prepare(job_days=7)
    return store


def mask(*pixels: int) -> np.ndarray:
    return np.array(pixels, bool)


@pytest.mark.parametrize(
    ("predicted", "truth", "score"),
    [
        (mask(1, 1, 0, 0), mask(1, 0, 0, 0), 2 / 3),
        (mask(1, 1), mask(1, 1), 1),
        (mask(1, 0), mask(0, 1), 0),
        (mask(0, 0), mask(0, 0), 1),
        (mask(1, 0), mask(0, 0), 0),
    ],
)
def test_dice_by_hand(predicted, truth, score):
    assert dice(predicted, truth) == pytest.approx(score)


def test_figures_are_those_of_the_masks_that_serving_returns(patients):
    model = tiny_model()
    predictor = OnnxPredictor(tiny_card(model), model, threads=1)
    result = evaluate("tiny", predictor, patients)
    for id, volume, truth in patients:
        assert result.dice[id] == dice(segment(volume, predictor).mask, truth)
        lone = np.concatenate([segment(one, predictor).mask for one in volume.lone_slices()])
        assert result.dice_lone_slices[id] == dice(lone, truth)


def test_a_constant_slice_counts_as_empty_where_it_is_alone(patients):
    id, volume, truth = patients[0]
    pixels = volume.pixels.copy()
    pixels[0] = 0
    model = tiny_model()
    result = evaluate(
        "tiny", OnnxPredictor(tiny_card(model), model, threads=1), [(id, replace(volume, pixels=pixels), truth)]
    )
    assert 0 <= result.dice_lone_slices[id] <= 1


def test_the_summary_is_over_patients():
    summary = EvaluationResult("n", {"a": 0.5, "b": 0.7, "c": 0.9}, {"a": 0.4, "b": 0.6, "c": 0.8}).summary
    assert (summary.patients, summary.lowest, summary.highest) == (3, 0.5, 0.9)
    assert (summary.mean, summary.median) == pytest.approx((0.7, 0.7))
    assert summary.std == pytest.approx(0.2)
    assert summary.mean_single_slices == pytest.approx(0.6)


def test_an_export_is_verified_and_a_wrong_one_refused(patients):
    network, other = create("attention-unet", 2).eval(), create("attention-unet", 2).eval()
    model = to_onnx(network)
    exported = OnnxPredictor(tiny_card(model), model, threads=1)
    tensors = [np.random.default_rng(0).normal(size=(1, 48, 32, 3)).astype(np.float32)]
    assert verify(exported, TorchPredictor(network, Preprocessing()), tensors) < 1e-4
    with pytest.raises(ModelRejected, match="differs"):
        verify(exported, TorchPredictor(other, Preprocessing()), tensors)


def scored(score: float) -> EvaluationResult:
    return EvaluationResult("new", {"P0": score, "P1": score}, {"P0": score, "P1": score})


def test_the_first_version_is_promoted(store, patients):
    decision = decide(tiny_card(tiny_model()), scored(0.1), "better", store, lambda: patients)
    assert decision.promote


def test_only_a_better_version_takes_the_champions_place(store, patients):
    model = tiny_model()
    Registry(store).publish(tiny_card(model), {"model.onnx": model})
    Registry(store).promote(tiny_card(model).version)
    new = tiny_card(model, version="20270101-000000-new")
    better = decide(new, scored(1.0), "better", store, lambda: patients)
    worse = decide(new, scored(0.0), "better", store, lambda: patients)
    assert (better.promote, worse.promote) == (True, False)
    assert "on the same patients" in worse.reason


def test_a_champion_of_another_split_is_said_to_have_an_advantage(store, patients):
    model = tiny_model()
    Registry(store).publish(tiny_card(model), {"model.onnx": model})
    Registry(store).promote(tiny_card(model).version)
    card = tiny_card(model, version="20270101-000000-new")
    card = card.model_copy(update={"data": card.data.model_copy(update={"split_sha256": "1" * 64})})
    assert "may have seen them" in decide(card, scored(1.0), "better", store, lambda: patients).reason


def test_a_champion_that_cannot_be_served_is_replaced(store, patients):
    model = tiny_model()
    Registry(store).publish(tiny_card(model), {"model.onnx": model})
    Registry(store).promote(tiny_card(model).version)
    store.put(f"models/{tiny_card(model).version}/model.onnx", b"rotten")
    decision = decide(tiny_card(model, version="20270101-000000-new"), scored(0.2), "better", store, lambda: patients)
    assert decision.promote
    assert "cannot be served" in decision.reason


@pytest.mark.parametrize(("policy", "promoted"), [("always", True), ("never", False)])
def test_a_policy_can_leave_no_question(store, patients, policy, promoted):
    assert decide(tiny_card(tiny_model()), scored(0.2), policy, store, lambda: patients).promote is promoted


def test_without_a_store_nothing_is_promoted(patients):
    assert not decide(tiny_card(tiny_model()), scored(0.9), "always", None, lambda: patients).promote

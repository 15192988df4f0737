"""Which version replaces the champion."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
from tests.models import tiny_card, tiny_model

from metseg import phantom
from metseg.contracts import OperatingPoint
from metseg.inference import OnnxPredictor
from metseg.registry import Registry
from metseg.storage import LocalFolderStore
from metseg_trainer.data import REVIEWED_SITE
from metseg_trainer.evaluation import EvaluationPatient, StructureData, evaluate_model
from metseg_trainer.evaluation.structures import StructureSet
from metseg_trainer.export import compare_patients, compare_structures, decide_promotion
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.export.promotion import Comparison
from metseg_trainer.networks import create_network

NEW = tiny_card(tiny_model(), version="20270101-000000-new")
WHOLE_ALONE = {"operating_points": {"whole": OperatingPoint()}}


@pytest.fixture
def store(tmp_path):
    store = LocalFolderStore(tmp_path / "store")
    store.prepare(job_days=7)
    return store


@pytest.fixture(scope="module")
def tiny():
    return OnnxPredictor(tiny_card(tiny_model()), tiny_model(), threads=1)


@pytest.fixture
def champion(store):
    """The tiny model in service."""
    card = tiny_card(tiny_model())
    Registry(store).publish(card, {"model.onnx": tiny_model()})
    Registry(store).promote(card.version)
    return card


def decide(store, *means, card=NEW, policy="better", unseen=(NEW.data.split_sha256,)):
    """The decision on a version with these means, each new and old."""
    return decide_promotion(
        card, policy, store, lambda _: [Comparison("on them", *pair) for pair in means], unseen=unseen
    )


def test_the_first_version_is_promoted(store):
    assert decide(store, (0.1, 0.1)).promote


@pytest.mark.parametrize(
    ("means", "promoted"),
    [
        ([(0.6, 0.5)], True),
        ([(0.4, 0.5)], False),
        ([(0.5, 0.5)], False),
        ([(0.6, 0.5), (0.5, 0.5)], True),
        ([(0.5, 0.5), (0.6, 0.5)], True),
        ([(0.6, 0.5), (0.4, 0.5)], False),
        ([(0.4, 0.5), (0.6, 0.5)], False),
    ],
)
def test_a_version_that_is_lower_on_none_and_higher_on_one_replaces_the_champion(store, champion, means, promoted):
    decision = decide(store, *means)
    assert decision.promote is promoted
    new, old = means[0]
    assert f"champion {champion.version}: {new:.4f} ({old:.4f}) on them" in decision.reason


def test_a_champion_that_outlines_the_core_is_not_replaced_by_one_of_the_whole_alone(store, champion):
    of_whole = NEW.model_copy(update=WHOLE_ALONE)
    decision = decide(store, (1, 0), card=of_whole)
    assert not decision.promote
    assert "also outlines the core" in decision.reason
    assert decide(store, (1, 0), card=of_whole, policy="always").promote


@pytest.mark.parametrize(("means", "promoted"), [((0.5, 0.5), True), ((0.4, 0.5), False)])
def test_a_structure_that_the_champion_lacks_is_an_improvement_if_nothing_gets_worse(store, means, promoted):
    model = to_onnx(create_network("attention-unet", 2).eval())
    card = tiny_card(model).model_copy(update=WHOLE_ALONE)
    Registry(store).publish(card, {"model.onnx": model})
    Registry(store).promote(card.version)
    decision = decide(store, means)
    assert decision.promote is promoted
    assert ("also outlines the core" in decision.reason) is promoted


def test_a_champion_that_may_have_seen_the_patients_has_a_reported_advantage(store, champion):
    assert "may have seen" in decide(store, (1, 0), unseen=["1" * 64]).reason
    assert "may have seen" not in decide(store, (1, 0)).reason


def test_a_champion_that_cannot_be_served_is_replaced(store, champion):
    store.put(f"models/{champion.version}/model.onnx", b"rotten")
    decision = decide(store, (0, 1))
    assert decision.promote
    assert "cannot be served" in decision.reason


@pytest.mark.parametrize(("policy", "promoted"), [("always", True), ("never", False)])
def test_a_promotion_policy_decides_without_comparison(store, champion, policy, promoted):
    assert decide(store, (0.5, 0.5), policy=policy).promote is promoted


def test_without_a_store_nothing_is_promoted():
    assert not decide(None, (1, 0), policy="always").promote


@pytest.fixture(scope="module")
def patients():
    heads = [phantom.head(seed, slices=4, size_px=96, lesions=1) for seed in (1, 2, 3)]
    return [EvaluationPatient.from_volume(f"P{n}", "ward", head.volume, head.mask) for n, head in enumerate(heads)]


def test_the_champion_is_compared_on_all_test_patients_and_on_the_reviewed_ones(tiny, patients):
    own = evaluate_model("own", tiny, patients, {})
    on_all, on_reviewed = compare_patients(own, patients, ["P1"])(tiny)
    assert (on_all.new, on_reviewed.new) == (fmean(own.dice.values()), own.dice["P1"])
    assert (on_all.old, on_reviewed.old) == (on_all.new, on_reviewed.new), "it is the same model"
    assert [one.patients for one in (on_all, on_reviewed)] == ["on all test patients", "on the reviewed ones (n = 1)"]


def test_structures_are_compared_over_sets_and_on_the_reviewed_ones(tiny, patients, monkeypatch):
    sets = {
        "two, core": ("core", patients[:2]),
        "one, core": ("core", patients[2:]),
        "one, whole": ("whole", patients[2:]),
    }
    content = {
        name: StructureSet(
            structure, lambda structure=structure, of=of: [replace(one, structure=structure) for one in of]
        )
        for name, (structure, of) in sets.items()
    }
    monkeypatch.setattr("metseg_trainer.export.promotion.structure_sets", lambda data: content)
    results = {name: evaluate_model("own", tiny, one.studies(), {}) for name, one in content.items()}
    studies = [SimpleNamespace(id="P2", site=REVIEWED_SITE), SimpleNamespace(id="P1", site="ward")]
    compared = compare_structures(results, StructureData([], [], Path(), test_studies=studies))(tiny)
    dice = [results[name].dice for name in sets]
    expected = {
        "for the core on all test studies": (fmean(dice[0].values()) + dice[1]["P2"]) / 2,
        "for the core on the reviewed ones (n = 1)": dice[1]["P2"],
        "for the whole on all test studies": dice[2]["P2"],
        "for the whole on the reviewed ones (n = 1)": dice[2]["P2"],
    }
    assert {one.patients: one.new for one in compared} == pytest.approx(expected)
    assert [one.old for one in compared] == [one.new for one in compared], "it is the same model"

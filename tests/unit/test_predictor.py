"""Running an exported model, and how many threads it may take."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.models import tiny_card, tiny_model

from metseg import predictor
from metseg.errors import ModelRejected
from metseg.predictor import OnnxPredictor, cpu_quota


def test_a_model_is_fed_channels_first_and_answers_a_map():
    model = tiny_model(brighter_than=0.0, steepness=1.0)
    tensor = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)
    answer = OnnxPredictor(tiny_card(model), model, threads=1)(tensor)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, 1 / (1 + np.exp(-tensor[..., 1])), atol=1e-6)


def test_threshold_and_preprocessing_are_the_cards():
    model = tiny_model()
    card = tiny_card(model)
    served = OnnxPredictor(card, model, threads=1)
    assert (served.threshold, served.preprocessing) == (card.threshold, card.preprocessing)


def test_bytes_that_are_no_model_are_rejected():
    with pytest.raises(ModelRejected, match="cannot be loaded"):
        OnnxPredictor(tiny_card(b"junk"), b"junk", threads=1)


def test_a_model_with_another_face_is_rejected():
    shape = ["n", 3, 4, 4]
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(other, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with pytest.raises(ModelRejected, match="inputs and outputs"):
        OnnxPredictor(tiny_card(model), model, threads=1)


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


@pytest.mark.parametrize(
    ("granted", "cpus"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8)]
)
def test_threads_follow_the_containers_quota(cgroup, granted, cpus):
    (cgroup / "cpu.max").write_text(granted)
    assert cpu_quota() == cpus


@pytest.mark.parametrize(("granted", "cpus"), [("300000", 3), ("-1", 8), ("9900000", 8)])
def test_threads_follow_an_older_hosts_quota(cgroup, granted, cpus):
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(granted)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu_quota() == cpus


def test_without_a_quota_threads_are_the_cpus_that_may_be_used(cgroup):
    assert cpu_quota() == 8

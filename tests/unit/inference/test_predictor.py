"""Running an exported model, and its number of threads."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.models import tiny_card, tiny_model

from metseg import phantom
from metseg.contracts import OperatingPoint
from metseg.errors import ModelRejected
from metseg.inference import OnnxPredictor, predictor, segment


def test_a_model_receives_channels_first_and_returns_a_map_per_structure():
    model = tiny_model(brighter_than=0.0, steepness=1.0)
    tensor = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)
    answer = OnnxPredictor(tiny_card(model), model, threads=1)(tensor)
    assert answer.dtype == np.float32
    expected = 1 / (1 + np.exp(-tensor[..., 1]))
    np.testing.assert_allclose(answer, [expected, expected], atol=1e-6)


def test_operating_points_and_preprocessing_are_those_of_the_card():
    model = tiny_model()
    card = tiny_card(model)
    served = OnnxPredictor(card, model, threads=1)
    assert (served.operating_points, served.preprocessing) == (card.operating_points, card.preprocessing)


def test_bytes_other_than_a_model_are_rejected():
    with pytest.raises(ModelRejected, match="cannot be loaded"):
        OnnxPredictor(tiny_card(b"junk"), b"junk", threads=1)


def test_a_model_with_another_interface_is_rejected():
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


def test_a_model_with_fewer_maps_than_its_card_names_is_rejected():
    model = tiny_model()
    card = tiny_card(model).model_copy(update={"operating_points": {"whole": OperatingPoint()}})
    with pytest.raises(ModelRejected, match="gives 2 maps; its card names 1"):
        OnnxPredictor(card, model, threads=1)


@pytest.fixture
def accelerated(monkeypatch):
    """The CPU, treated like an accelerator: the same binding, in its own memory."""
    monkeypatch.setattr(predictor, "_ACCELERATORS", {"CPUExecutionProvider": "cpu"})
    monkeypatch.setattr(predictor, "BATCH_SIZE", 4)


@pytest.mark.usefixtures("accelerated")
@pytest.mark.parametrize("count", [1, 4, 11])
def test_bound_batches_equal_single_slices(count):
    model = tiny_model(brighter_than=0.0, steepness=1.0)
    served = OnnxPredictor(tiny_card(model), model, threads=2)
    assert (served.max_concurrency, served.batch_size) == (1, 4)
    for rows in (32, 48, 32):
        tensor = np.random.default_rng(rows).normal(size=(count, rows, 48, 3)).astype(np.float32)
        first = served(tensor)
        served(np.zeros_like(tensor))
        expected = 1 / (1 + np.exp(-tensor[..., 1]))
        np.testing.assert_allclose(first, [expected, expected], atol=1e-6)


@pytest.mark.usefixtures("accelerated")
def test_a_study_in_bound_batches_has_the_same_map_as_slice_by_slice(monkeypatch):
    model, volume = tiny_model(0.5), phantom.head(5, slices=9, size_px=96, lesions=2).volume
    in_batches = segment(volume, OnnxPredictor(tiny_card(model), model, threads=2))
    monkeypatch.undo()
    alone = segment(volume, OnnxPredictor(tiny_card(model), model, threads=2))
    np.testing.assert_allclose(in_batches.probability, alone.probability, atol=1e-6)


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        (["CPUExecutionProvider"], ["CPUExecutionProvider"]),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        (
            ["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"],
            ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        ),
    ],
)
def test_the_fastest_available_provider_comes_first(monkeypatch, caplog, available, chosen):
    caplog.set_level("WARNING", logger=predictor.log.name)  # whatever level another test has left
    asked = []

    class Session:
        def __init__(self, model, options, providers):
            asked.extend(name for name, _ in providers)

        def get_providers(self):
            return asked

        def get_inputs(self):
            return [SimpleNamespace(name="slices")]

        def get_outputs(self):
            return [SimpleNamespace(name="probability", shape=["batch", 2, "height", "width"])]

    monkeypatch.setattr(predictor.onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(predictor.onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(predictor.onnxruntime, "preload_dlls", lambda: None, raising=False)
    served = OnnxPredictor(tiny_card(b"model"), b"model", threads=3)
    assert asked == chosen
    assert (served.max_concurrency, served.batch_size) == (
        (3, 1) if chosen[0].startswith("CPU") else (1, predictor.BATCH_SIZE)
    )
    assert "no usable GPU" not in caplog.text
    asked.clear()
    monkeypatch.setattr(Session, "get_providers", lambda self: ["CPUExecutionProvider"])
    assert OnnxPredictor(tiny_card(b"model"), b"model", threads=3).batch_size == 1
    assert ("no usable GPU" in caplog.text) == (available != ["CPUExecutionProvider"])

"""A model of core and whole in one file computes what its two models compute."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from metseg.errors import ModelRejected
from metseg.imaging import POST
from metseg.inference import INPUT
from metseg_trainer.export.composition import compose_structures, extract_whole
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.networks import create_network


def network(seed: int) -> bytes:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return to_onnx(create_network("attention-unet", 2).eval())


@pytest.fixture(scope="module")
def core():
    return network(0)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def whole(request):
    model = network(1)
    calibration = np.random.default_rng(1).standard_normal((4, 1, 32, 48, 3)).astype(np.float32)
    return model if request.param == "fp32" else to_int8(model, calibration)


def run(model, slices):
    [probability] = onnxruntime.InferenceSession(model).run(None, {INPUT: slices})
    return probability


@pytest.mark.parametrize(
    ("missing", "copied"), [((), None), ((0,), 1), ((0, 2), 1), ((0, 1), 2), ((1,), 2), ((1, 2), 0), ((2,), 1)]
)
def test_both_maps_are_those_of_the_two_models_and_without_post_contrast_there_is_no_core(core, whole, missing, copied):
    slices = np.random.default_rng(0).standard_normal((2, 3, 64, 96)).astype(np.float32)
    slices[:, list(missing)] = 0
    found = run(compose_structures(core, whole), slices)
    expected_core = run(core, slices) * (POST not in missing)
    assert found[:, :1] == pytest.approx(expected_core, abs=1e-6)

    filled = slices.copy()
    for channel in missing:
        filled[:, channel] = slices[:, copied]
    coarse = filled.reshape(2, 3, 32, 2, 48, 2).mean((3, 5))
    enlarged = functional.interpolate(torch.from_numpy(run(whole, coarse)), scale_factor=2, mode="bilinear").numpy()
    assert found[:, 1:] == pytest.approx(enlarged, abs=1e-5)


def test_the_model_of_the_whole_can_be_taken_out_again(core, whole):
    slices = np.random.default_rng(2).standard_normal((2, 3, 32, 48)).astype(np.float32)
    taken = extract_whole(compose_structures(core, whole))
    assert run(taken, slices) == pytest.approx(run(whole, slices), abs=1e-6)
    assert len(taken) < 1.1 * len(whole)
    again = compose_structures(core, taken)
    enlarged = np.repeat(np.repeat(slices, 2, axis=2), 2, axis=3)
    assert run(again, enlarged) == pytest.approx(run(compose_structures(core, whole), enlarged), abs=1e-6)


def test_a_model_that_was_not_joined_has_no_whole_to_take_out(whole):
    with pytest.raises(ModelRejected, match="not joined from one of the core"):
        extract_whole(whole)

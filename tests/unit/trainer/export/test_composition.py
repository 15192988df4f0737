"""A model of core and whole in one file computes what its two models compute."""

import numpy as np
import onnxruntime
import pytest
import torch
from tests.models import STARTER
from torch.nn import functional

from metseg.imaging import POST
from metseg.inference import INPUT
from metseg_trainer.export.composition import compose_structures
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.networks import create_network


@pytest.fixture(scope="module")
def core():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return to_onnx(create_network("attention-unet", 2).eval())


def run(model, slices):
    [probability] = onnxruntime.InferenceSession(model).run(None, {INPUT: slices})
    return probability


@pytest.mark.parametrize("name", ["model.onnx", "model-fp32.onnx"])
@pytest.mark.parametrize(
    ("missing", "copied"), [((), None), ((0,), 1), ((0, 2), 1), ((0, 1), 2), ((1,), 2), ((1, 2), 0), ((2,), 1)]
)
def test_both_maps_are_those_of_the_two_models_and_without_post_contrast_there_is_no_core(core, name, missing, copied):
    whole = (STARTER / name).read_bytes()
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
    assert found[:, 1:] == pytest.approx(np.maximum(enlarged, expected_core), abs=1e-5)

"""Smaller models: quantised, pruned, and the choice between them."""

import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from tests.models import tiny_card

from metseg.contracts import ModelCard, OperatingPoint, Preprocessing, Variant
from metseg.inference import OnnxPredictor
from metseg_trainer.export.model_selection import (
    MARGIN,
    EvaluatedVariant,
    frontier_record,
    full_precision_source,
    select_variant,
    shortfall,
)
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.export.variants import ExportedVariant
from metseg_trainer.networks import NestedUNet
from metseg_trainer.reporting import write_frontier_page

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return NestedUNet(8, depth=2).eval()


@pytest.fixture(scope="module")
def exact(network):
    return to_onnx(network)


@pytest.fixture(scope="module")
def tensors():
    random = np.random.default_rng(0)
    return [random.standard_normal((1, *size, 3)).astype(np.float32) for size in [(48, 32), (32, 32), (32, 64)]]


@pytest.fixture(scope="module")
def small(exact, tensors):
    return to_int8(exact, tensors)


def predictor(model):
    card = tiny_card(model).model_copy(update={"operating_points": {"whole": OperatingPoint()}})
    return OnnxPredictor(card, model, threads=1)


def test_a_quantised_model_approximates_the_original_at_every_size(exact, small):
    fresh = np.random.default_rng(1)
    for shape in [(1, 48, 32, 3), (2, 64, 48, 3), (1, 33, 51, 3)]:
        tensor = fresh.standard_normal(shape).astype(np.float32)
        wide, narrow = predictor(exact)(tensor), predictor(small)(tensor)
        assert narrow.shape == wide.shape
        assert np.abs(narrow - wide).mean() < 0.02


def test_a_quantised_model_has_integer_weights_with_per_channel_scales(exact, small):
    graph = onnx.load_from_string(small).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    scales = [
        weights[node.input[1]]
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in weights
        and weights[node.input[0]].data_type == onnx.TensorProto.INT8
    ]
    assert max(tensor.dims[0] if tensor.dims else 1 for tensor in scales) >= 8
    assert len(small) < 0.6 * len(exact)


def test_weights_use_seven_bits_so_that_no_processor_overflows(small):
    held = [onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(small).graph.initializer]
    integers = [one for one in held if one.dtype == np.int8 and one.ndim == 4]
    assert integers
    assert all(np.abs(one.astype(int)).max() <= 64 for one in integers)


def variant(mean, ms, spread=0.0, name="fast", network=None):
    """A variant whose Dice over twelve patients is `mean`, off by `spread` up and down in turn."""
    made = ExportedVariant("run", network or NestedUNet(4, 1), Variant(pruning_level=1), Preprocessing(), b"model")
    scores = {f"P{n}": mean + spread * (-1) ** n for n in range(12)}
    return EvaluatedVariant(made, tiny_card(b"model", name), scores, scores, ms)


def test_the_shortfall_is_the_confidence_limit_of_the_mean_difference():
    best = {f"P{n}": 0.9 for n in range(200)}
    random = np.random.default_rng(0)
    other = {name: 0.9 - gap for name, gap in zip(best, random.normal(0.01, 0.05, 200), strict=True)}
    gaps = np.array([best[name] - other[name] for name in best])
    normal = gaps.mean() + 1.645 * gaps.std() / np.sqrt(200)
    assert shortfall(best, other) == pytest.approx(normal, abs=5e-4)
    assert shortfall(best, best) == 0


def test_the_fastest_within_the_margin_is_chosen():
    best, near, far = variant(0.9, 40), variant(0.9 - 0.8 * MARGIN, 20), variant(0.9 - 1.2 * MARGIN, 10)
    assert select_variant([best, near, far]) is near


def test_a_variant_with_an_interval_beyond_the_margin_is_not_chosen():
    best, unsure = variant(0.9, 40), variant(0.898, 10, spread=0.05)
    assert select_variant([best, unsure]) is best


def test_the_original_of_an_8_bit_variant_is_found():
    wide, other = variant(0.9, 40), variant(0.9, 30, network=NestedUNet(8, 1))
    narrow = replace(wide, exported=replace(wide.exported, variant=Variant(precision="int8", pruning_level=1)))
    assert full_precision_source(narrow, [other, narrow, wide]) is wide
    assert full_precision_source(wide, [other, narrow, wide]) is None


def test_the_record_marks_the_pareto_front_and_names_no_patient():
    listed = [variant(0.9, 40), variant(0.899, 20), variant(0.7, 30), variant(0.6, 5)]
    content = frontier_record(listed, threads=2)
    assert [row["ms_a_slice"] for row in content["variants"]] == [5, 20, 30, 40]
    assert [row["on_front"] for row in content["variants"]] == [True, True, False, True]
    assert [row["chosen"] for row in content["variants"]] == [False, True, False, False]
    assert [row["best"] for row in content["variants"]] == [False, False, False, True]
    assert "P1" not in json.dumps(content)
    assert "20.0 ms" in content["words"]


def test_the_page_shows_every_variant_and_marks_the_one_that_serves(tmp_path):
    listed = [variant(0.9, 40), variant(0.899, 20), variant(0.6, 5)]
    write_frontier_page(tmp_path, frontier_record(listed, threads=2))
    shown = (tmp_path / "frontier.html").read_text()
    assert shown.count("var(--good); stroke-width: 2") == shown.count("serves</span>") == 1
    assert len(re.findall(r'id="PathCollection_\d+"', shown)) == 3 + 1
    assert frontier_record(listed, threads=2)["words"] in shown


def test_variants_of_a_run_have_distinct_valid_version_names():
    one = variant(0.9, 40).exported
    keys = {
        replace(one, variant=made, preprocessing=contract, network=NestedUNet(width, 1)).key
        for made in (Variant(pruning_level=1), Variant(pruning_level=2), Variant(precision="int8", pruning_level=1))
        for contract in (Preprocessing(), Preprocessing(pixel_scale=0.75))
        for width in (4, 8)
    }
    assert len(keys) == 12
    assert "nested-unet-level-1-width-8-input-192-int8" in keys


def test_a_card_without_a_level_means_the_whole_network():
    old = tiny_card(b"model").model_dump(mode="json")
    del old["variant"]
    assert ModelCard.model_validate(old).variant == Variant()

"""One ONNX file of two: the core at full resolution, and the whole by a coarser model, which was trained before."""

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, version_converter
from onnx.utils import Extractor

from metseg.errors import ModelRejected
from metseg.imaging import FLAIR, POST, PRE
from metseg.inference import INPUT, OUTPUT

__all__ = ["FACTOR", "compose_structures", "extract_whole"]

FACTOR = 2
"""A pixel of the coarser model is as wide as two."""
FILLED = "filled"
SCALES = (1.0, 1.0, float(FACTOR), float(FACTOR))


def compose_structures(core: bytes, whole: bytes) -> bytes:
    """Join two models.

    The whole is predicted from the average of `FACTOR` by `FACTOR` pixels, and enlarged. Its model learned a copy where
    a sequence is missing, the core's learned 0. Without post-contrast T1 the core is 0, since its model has never seen
    that. The whole is left as its model gives it: `segment` adds the cores that are kept, which are few of those above
    a low threshold.

    Args:
        core: an ONNX model from (batch, 3, row, column) to the core's probability, (batch, 1, row, column).
        whole: the same of the whole.

    Returns:
        A model with the same input and the probabilities of core and whole, (batch, 2, row, column). Rows and columns
        must be multiples of `FACTOR` times what the coarser model needs.
    """
    models = {"core": onnx.load_from_string(core), "whole": onnx.load_from_string(whole)}
    opset = max(_opset(model) for model in models.values())
    fine, coarse = (compose.add_prefix(_with_opset(model, opset), f"{name}.") for name, model in models.items())
    _rename(fine, f"core.{INPUT}", INPUT)
    nodes = [
        *_fill_missing(),
        helper.make_node("AveragePool", [FILLED], [f"whole.{INPUT}"], kernel_shape=[FACTOR] * 2, strides=[FACTOR] * 2),
        *coarse.graph.node,
        *fine.graph.node,
        helper.make_node("Resize", [f"whole.{OUTPUT}", "", "scales"], ["enlarged"], mode="linear"),
        helper.make_node("Where", [f"present_{POST}", f"core.{OUTPUT}", "zero"], ["core"]),
        helper.make_node("Concat", ["core", "enlarged"], [OUTPUT], axis=1),
    ]
    constants = [*fine.graph.initializer, *coarse.graph.initializer, *_constants()]
    graph = helper.make_graph(
        nodes,
        "core_and_whole",
        [_tensor(INPUT, 3, "")],
        [_tensor(OUTPUT, 2, "")],
        constants,
        value_info=[_tensor(f"whole.{INPUT}", 3, "coarse_"), _tensor(f"whole.{OUTPUT}", 1, "coarse_")],
    )
    opsets = {one.domain: one for model in (fine, coarse) for one in model.opset_import}
    joined = helper.make_model(
        graph,
        opset_imports=list(opsets.values()),
        ir_version=max(fine.ir_version, coarse.ir_version),
        functions=[*fine.functions, *coarse.functions],
    )
    onnx.checker.check_model(joined)
    return bytes(joined.SerializeToString())


def extract_whole(model: bytes) -> bytes:
    """The model of the whole in a model that `compose_structures` made.

    Args:
        model: of core and whole.

    Returns:
        The model that was joined.

    Raises:
        ModelRejected: the model was not made so.
    """
    joined = onnx.load_from_string(model)
    try:
        whole = Extractor(joined).extract_model([f"whole.{INPUT}"], [f"whole.{OUTPUT}"])
    except ValueError as error:
        raise ModelRejected("The model was not joined from one of the core and one of the whole.") from error
    for value, name in ((whole.graph.input[0], INPUT), (whole.graph.output[0], OUTPUT)):
        _rename(whole, value.name, name)
        value.name = name
    return bytes(whole.SerializeToString())


def _fill_missing() -> list[onnx.NodeProto]:
    """Copies in place of channels that are 0: of FLAIR, without it of post-contrast, without both of pre-contrast."""
    nodes = [
        helper.make_node("Abs", [INPUT], ["magnitude"]),
        helper.make_node("ReduceMax", ["magnitude", "pixel_axes"], ["highest"], keepdims=1),
        helper.make_node("Greater", ["highest", "zero"], ["present"]),
        helper.make_node("Split", [INPUT], ["sequence_0", "sequence_1", "sequence_2"], axis=1, num_outputs=3),
        helper.make_node("Split", ["present"], ["present_0", "present_1", "present_2"], axis=1, num_outputs=3),
        helper.make_node("Where", [f"present_{POST}", f"sequence_{POST}", f"sequence_{PRE}"], ["without_flair"]),
        helper.make_node("Where", [f"present_{FLAIR}", f"sequence_{FLAIR}", "without_flair"], ["copied"]),
        helper.make_node("Where", ["present", INPUT, "copied"], [FILLED]),
    ]
    return nodes


def _tensor(name: str, channels: int, prefix: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, TensorProto.FLOAT, ["batch", channels, f"{prefix}rows", f"{prefix}columns"]
    )


def _constants() -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(np.array([2, 3], np.int64), "pixel_axes"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(SCALES, np.float32), "scales"),
    ]


def _opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    return model if _opset(model) == opset else version_converter.convert_version(model, opset)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give a tensor another name in all nodes."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new

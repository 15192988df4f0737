"""Trained networks as ONNX, and the check that both compute the same."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from metseg.errors import ModelRejected
from metseg.imaging import Float32Array, ModelInput
from metseg.inference import INPUT, OUTPUT, Predictor, SequenceModel, SequenceModelCard
from metseg_trainer.networks import SegmentationNetwork, SequenceClassifier

__all__ = ["middle_slice", "sequence_classifier_to_onnx", "to_onnx", "verify_export"]

TOLERANCE = 1e-4

logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # otherwise it logs optional operators of other packages


class _WithSigmoid(nn.Module):
    """A network that returns probabilities."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> Tensor:
        return torch.sigmoid(self.network(slices))


def to_onnx(network: SegmentationNetwork) -> bytes:
    """A network on the CPU as one ONNX file, with dynamic batch, rows and columns.

    Returns:
        The bytes of a model from `slices`, float32 (batch, 3, row, column), to `probability`, float32
        (batch, structure, row, column).
    """
    every_side = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    model = _exported(_WithSigmoid(network), torch.zeros(2, 3, 64, 80), every_side, (INPUT, OUTPUT))
    return bytes(model.SerializeToString())


def sequence_classifier_to_onnx(network: SequenceClassifier, card: SequenceModelCard) -> bytes:
    """A classifier of sequences as one ONNX file.

    Args:
        network: on the CPU.
        card: stored in the file's metadata.

    Returns:
        What `metseg.inference.SequenceModel` reads.
    """
    batch = {0: torch.export.Dim.DYNAMIC}
    model = _exported(network, torch.zeros(2, 1, *SequenceModel.INPUT_PX), batch, ("heads", "scores"))
    onnx.helper.set_model_props(model, {SequenceModel.CARD_KEY: card.model_dump_json()})
    return bytes(model.SerializeToString())


def _exported(network: nn.Module, example: Tensor, dynamic: dict[int, Any], names: tuple[str, str]) -> onnx.ModelProto:
    """A network as ONNX, without source paths of the exporting machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            network.cpu().eval(),
            (example,),
            input_names=names[:1],
            output_names=names[1:],
            dynamic_shapes=(dynamic,),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelRejected("torch exported no ONNX program; use the torch version of the lock file.")
    model = program.model_proto
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def middle_slice(prepared: ModelInput) -> Float32Array:
    """The middle slice of a study, as a model input: float32, (1, row, column, channel)."""
    return prepared.tensor([len(prepared.pixels) // 2])


def verify_export(exported: Predictor, trained: Predictor, tensors: Sequence[Float32Array]) -> float:
    """Check an export against its network, on real slices.

    Args:
        exported: runs the ONNX file.
        trained: runs the network.
        tensors: model inputs, float32, (slice, row, column, channel).

    Returns:
        The largest difference of probability in any pixel.

    Raises:
        ModelRejected: it is above 1e-4.
    """
    difference = max(float(np.abs(exported(tensor) - trained(tensor)).max()) for tensor in tensors)
    if difference > TOLERANCE:
        raise ModelRejected(f"The exported model differs from the trained one by {difference:.2g}; it was rejected.")
    return difference

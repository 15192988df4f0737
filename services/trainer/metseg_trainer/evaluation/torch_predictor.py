"""TorchPredictor: a network as it was trained, before it is exported, behind the interface that serving uses."""

from collections.abc import Mapping

import numpy as np
import torch

from metseg.contracts import OperatingPoint, Preprocessing, Structure
from metseg.imaging import Float32Array
from metseg_trainer.networks import SegmentationNetwork, channels_last

__all__ = ["TorchPredictor"]


class TorchPredictor:
    """Runs a network on a GPU if there is one.

    Args:
        network: in float32.
        preprocessing: of its training.
        operating_points: by structure; None uses the default for the whole alone.
    """

    max_concurrency = batch_size = 1

    def __init__(
        self,
        network: SegmentationNetwork,
        preprocessing: Preprocessing,
        operating_points: Mapping[Structure, OperatingPoint] | None = None,
    ) -> None:
        self.preprocessing = preprocessing
        self.operating_points = operating_points or {"whole": OperatingPoint()}
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = channels_last(network.eval().to(self._device))

    def __call__(self, tensor: Float32Array) -> Float32Array:
        """Probabilities in [0, 1], (structure, slice, row, column), of a (slice, row, column, channel) input."""
        slices = torch.from_numpy(np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            logits = self.network(slices.to(self._device, memory_format=torch.channels_last))
            probability: Float32Array = torch.sigmoid(logits).float().cpu().numpy().transpose(1, 0, 2, 3)
        return probability

"""TorchPredictor: a network as it was trained, before it is exported, behind the interface that serving uses."""

import numpy as np
import torch

from metseg.contracts import Preprocessing
from metseg.imaging import Float32Array
from metseg_trainer.evaluation.operating_point import OperatingPoint
from metseg_trainer.networks import SegmentationNetwork, channels_last

__all__ = ["TorchPredictor"]


class TorchPredictor:
    """Runs a network on a GPU if there is one.

    Args:
        network: in float32.
        preprocessing: of its training.
        point: its operating point; None uses the default.
    """

    max_concurrency = batch_size = 1

    def __init__(
        self, network: SegmentationNetwork, preprocessing: Preprocessing, point: OperatingPoint | None = None
    ) -> None:
        self.preprocessing = preprocessing
        self.point = point or OperatingPoint()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = channels_last(network.eval().to(self._device))

    @property
    def threshold(self) -> float:
        """Of the operating point."""
        return self.point.threshold

    @property
    def smallest_lesion_px(self) -> float:
        """Of the operating point."""
        return self.point.smallest_lesion_px

    def __call__(self, tensor: Float32Array) -> Float32Array:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""
        slices = torch.from_numpy(np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            logits = self.network(slices.to(self._device, memory_format=torch.channels_last))
            probability: Float32Array = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
        return probability

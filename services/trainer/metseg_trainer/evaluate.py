"""Evaluate: how well a model finds the lesions of patients that it has never seen."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from metseg.contracts import DiceSummary, Preprocessing
from metseg.segment import Predictor, probabilities
from metseg.volume import Volume
from metseg_trainer.networks import SegmentationNetwork, channels_last

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EvaluationResult:
    """A model on a set of patients.

    Attributes:
        network: its name.
        dice: by patient, all slices of the patient as one volume.
        dice_lone_slices: by patient too, but each slice was submitted alone.
    """

    network: str
    dice: dict[str, float]
    dice_lone_slices: dict[str, float]

    @property
    def summary(self) -> DiceSummary:
        """Mean, median and spread over the patients."""
        scores = list(self.dice.values())
        return DiceSummary(
            patients=len(scores),
            mean=statistics.fmean(scores),
            median=statistics.median(scores),
            std=statistics.stdev(scores) if len(scores) > 1 else 0.0,
            lowest=min(scores),
            highest=max(scores),
            mean_single_slices=statistics.fmean(self.dice_lone_slices.values()),
        )


class TorchPredictor:
    """The Predictor that runs a network as it was trained, before it is exported."""

    threshold = 0.5
    smallest_lesion_px = 0.0

    def __init__(self, network: SegmentationNetwork, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = channels_last(network.eval().to(self._device))

    def __call__(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""
        slices = torch.from_numpy(np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            logits = self.network(slices.to(self._device, memory_format=torch.channels_last))
            probability: npt.NDArray[np.float32] = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
        return probability


def dice(predicted: Mask, truth: Mask) -> float:
    """Dice's coefficient of two masks of one shape, 2|A and B| / (|A| + |B|); two empty masks agree: 1."""
    total = int(predicted.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * int((predicted & truth).sum()) / total


def evaluate(network: str, predictor: Predictor, patients: Iterable[tuple[str, Volume, Mask]]) -> EvaluationResult:
    """Judge a model by patient, through the pipeline that serves.

    Args:
        network: the model's name, for the record.
        predictor: the model.
        patients: identifier, study and true mask, (slice, row, column) as the study.
    """
    whole, lone = {}, {}
    for patient, volume, truth in patients:
        whole[patient] = dice(probabilities(volume, predictor) >= predictor.threshold, truth)
        lone[patient] = dice(_lone_slices(volume, predictor), truth)
    return EvaluationResult(network, whole, lone)


def _lone_slices(volume: Volume, predictor: Predictor) -> Mask:
    """The mask of a study whose slices were each submitted alone; a constant slice is refused there, so empty."""
    mask = np.zeros(volume.shape, np.bool_)
    for index, lone in enumerate(volume.lone_slices()):
        if lone is not None:
            mask[index] = probabilities(lone, predictor)[0] >= predictor.threshold
    return mask

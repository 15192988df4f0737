"""Variants of a trained network that need no training: pruned, and in 8-bit integers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metseg.contracts import Preprocessing, Variant
from metseg.imaging import REFERENCE_PX, Float32Array, Preprocessor
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.networks import SegmentationNetwork
from metseg_trainer.training import CHECKPOINT, load_network

__all__ = ["ExportedVariant", "calibration_inputs", "export_variants"]


@dataclass(frozen=True, eq=False)
class ExportedVariant:
    """A model that could be served.

    Attributes:
        run: the name of the run that trained it.
        network: as trained and pruned; an int8 model was made from it.
        variant: pruning level and precision.
        preprocessing: of the model.
        model: the bytes of the ONNX file.
    """

    run: str
    network: SegmentationNetwork
    variant: Variant
    preprocessing: Preprocessing
    model: bytes

    @property
    def origin(self) -> tuple[str, str, int, Preprocessing]:
        """The identity of a trained network: run, architecture, width and input."""
        return self.run, self.network.name, self.base_width, self.preprocessing

    @property
    def base_width(self) -> int:
        """Feature channels at full resolution."""
        return int(self.network.widths[0])

    @property
    def input_px(self) -> int:
        """The side of a whole slice in model pixels, of which the head's box is the input."""
        return round(REFERENCE_PX * self.preprocessing.pixel_scale)

    @property
    def key(self) -> str:
        """A name that no other variant of the run has, valid in a version."""
        level = f"-level-{self.variant.pruning_level}" if self.variant.pruning_level else ""
        return f"{self.network.name}{level}-width-{self.base_width}-input-{self.input_px}-{self.variant.precision}"


def export_variants(
    folder: Path, names: Sequence[str], preprocessing: Preprocessing, tensors: Sequence[Float32Array]
) -> Iterator[ExportedVariant]:
    """All variants of a run's networks, one after the other.

    Args:
        folder: of the run.
        names: of its networks.
        preprocessing: of its training.
        tensors: model inputs of training patients, which set the ranges of integers.

    Yields:
        Each network at each pruning level, in float32 and in int8.
    """
    for name in names:
        for network, level in load_network(folder / name / CHECKPOINT).pruned_networks():
            exact = to_onnx(network)
            yield ExportedVariant(folder.name, network, Variant(pruning_level=level), preprocessing, exact)
            int8 = Variant(precision="int8", pruning_level=level)
            yield ExportedVariant(folder.name, network, int8, preprocessing, to_int8(exact, tensors))


def calibration_inputs(patients: Sequence[Patient], preprocessing: Preprocessing) -> list[Float32Array]:
    """The slice with the largest lesion and the middle slice of each patient.

    Args:
        patients: of the training side.
        preprocessing: of the model.

    Returns:
        Model inputs, float32, (slice, row, column, channel).
    """
    tensors = []
    for patient in patients:
        volume, truth = load_patient(patient)
        prepared = Preprocessor(preprocessing).prepare(volume)
        occupied = np.flatnonzero(prepared.occupied)
        for index in {int(truth.sum(axis=(1, 2)).argmax()), int(occupied[len(occupied) // 2])}:
            tensors.append(prepared.tensor([index]))
    return tensors

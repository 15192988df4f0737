"""Variants: what can be made of a trained network without training: pruned, and in 8-bit integers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from metseg.contracts import Preprocessing, Variant
from metseg.imaging import REFERENCE_PX, Preprocessor
from metseg_trainer.data import dataset
from metseg_trainer.data.dataset import Patient
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.networks import NestedUNet, SegmentationNetwork
from metseg_trainer.training.fit import LAST, load

__all__ = ["Made", "calibration", "make"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Made:
    """A model that could serve.

    Attributes:
        run: the name of the run that trained it.
        name: a key of `metseg_trainer.networks.NETWORKS`.
        network: as trained and pruned; what an int8 model was made from.
        variant: what it keeps of the trained network.
        preprocessing: the contract with serving.
        model: the bytes of the ONNX file.
    """

    run: str
    name: str
    network: SegmentationNetwork
    variant: Variant
    preprocessing: Preprocessing
    model: bytes

    @property
    def origin(self) -> tuple[str, str, int, Preprocessing]:
        """What tells trained networks apart: their run, architecture, width and input."""
        return self.run, self.name, self.base_width, self.preprocessing

    @property
    def base_width(self) -> int:
        """Feature channels at full resolution."""
        return int(self.network.widths[0])

    @property
    def input_px(self) -> int:
        """The side of a whole slice in model pixels, of which the head's box is fed."""
        return round(REFERENCE_PX * self.preprocessing.pixel_scale)

    @property
    def key(self) -> str:
        """A name that no other variant of the run has, as a version may be called."""
        level = f"-level-{self.variant.pruning_level}" if self.variant.pruning_level else ""
        return f"{self.name}{level}-width-{self.base_width}-input-{self.input_px}-{self.variant.precision}"


def make(folder: Path, names: Sequence[str], preprocessing: Preprocessing, tensors: Sequence[Floats]) -> Iterator[Made]:
    """All variants of a run's networks, one after the other.

    Args:
        folder: of the run.
        names: of its networks.
        preprocessing: that it was trained with.
        tensors: model inputs of training patients, which tell the ranges of integers.
    """
    for name in names:
        for network, level in _pruned(load(folder / name / LAST)):
            exact = to_onnx(network)
            yield Made(folder.name, name, network, Variant(pruning_level=level), preprocessing, exact)
            small = Variant(precision="int8", pruning_level=level)
            yield Made(folder.name, name, network, small, preprocessing, to_int8(exact, tensors))


def calibration(patients: Sequence[Patient], preprocessing: Preprocessing) -> list[Floats]:
    """Of each patient the slice with the largest lesion and the one halfway up the head, as model inputs."""
    tensors = []
    for patient in patients:
        volume, truth = dataset.load(patient)
        prepared = Preprocessor(preprocessing).prepare(volume)
        occupied = np.flatnonzero(prepared.occupied)
        for index in {int(truth.sum(axis=(1, 2)).argmax()), int(occupied[len(occupied) // 2])}:
            tensors.append(prepared.tensor(slice(index, index + 1)))
    return tensors


def _pruned(network: SegmentationNetwork) -> Iterator[tuple[SegmentationNetwork, int | None]]:
    """A U-Net++ at each of its pruning levels, the whole one first; any other network as it is."""
    if not isinstance(network, NestedUNet):
        yield network, None
        return
    for level in range(network.depth, 0, -1):
        yield network.pruned(level), level

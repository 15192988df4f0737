"""The pipeline: a study goes in, its lesions come out, whatever computes the probabilities."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from metseg import lesions
from metseg.contracts import Familiarity, Lesion, Preprocessing
from metseg.parallel import side_by_side
from metseg.preprocess import Geometry, ModelInput, from_output, to_input
from metseg.volume import Volume

Glimpse = Callable[[int, Callable[[], npt.NDArray[np.float32]]], None]


class Predictor(Protocol):
    """A model, whatever runs it."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the model's input has to go through."""

    @property
    def threshold(self) -> float:
        """The probability from which the model calls a pixel lesion."""

    @property
    def smallest_lesion_px(self) -> float:
        """The size, in reference pixels over all slices, below which a component of the mask is left out."""

    @property
    def lanes(self) -> int:
        """How many slices may be asked for side by side."""

    def __call__(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The lesions of a study.

    Attributes:
        probability: float32 in [0, 1], (slice, row, column), as the study.
        mask: bool, the same shape: where the probability reaches the threshold, without components that are
            smaller than the model keeps.
        threshold: the one that was used.
        lesions: the components of the mask, largest first.
        warnings: sentences for the reader of the result.
        prepared: the model's input that it was computed from.
        familiarity: how far the study lies from those that the model learned from; None where nobody can tell.
        uncertainty: float32 in [0, 1], the same shape; None where nobody asked.
        uncertainty_words: the same in a sentence.
    """

    probability: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    threshold: float
    lesions: list[Lesion]
    warnings: tuple[str, ...]
    prepared: ModelInput | None = None
    familiarity: Familiarity | None = None
    uncertainty: npt.NDArray[np.float32] | None = None
    uncertainty_words: str | None = None


def segment(
    volume: Volume,
    predictor: Predictor,
    threshold: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    glimpse: Glimpse | None = None,
) -> Segmentation:
    """Segment a study.

    Args:
        volume: the study; one slice or many.
        predictor: the model.
        threshold: from 0 to 1; None takes the model's own.
        progress: told (slices done, slices in all) after each slice; what it raises ends the work.
        glimpse: told which slice is done, and how to have its probability map, (row, column) as the study.
    """
    threshold = predictor.threshold if threshold is None else threshold
    probability, prepared = _predict(volume, predictor, progress, glimpse)
    smallest = predictor.smallest_lesion_px / prepared.geometry.reference_px
    mask = lesions.at_least(probability >= threshold, smallest)
    return Segmentation(
        probability,
        mask,
        threshold,
        lesions.measure(mask, volume.spacing_mm, probability, volume.affine),
        volume.warnings,
        prepared,
    )


def probabilities(
    volume: Volume, predictor: Predictor, progress: Callable[[int, int], None] | None = None
) -> npt.NDArray[np.float32]:
    """The probability map of a study: float32 in [0, 1], (slice, row, column); see `segment`."""
    return _predict(volume, predictor, progress)[0]


def _predict(
    volume: Volume,
    predictor: Predictor,
    progress: Callable[[int, int], None] | None,
    glimpse: Glimpse | None = None,
) -> tuple[npt.NDArray[np.float32], ModelInput]:
    """Slices go through the model each for itself: on a CPU a batch gains nothing, and progress is told sooner."""
    prepared = to_input(volume, predictor.preprocessing)
    maps = np.zeros(prepared.pixels.shape[:3], np.float32)

    def fill(index: int) -> int:
        if prepared.occupied[index]:
            here = slice(index, index + 1)
            maps[here] = predictor(prepared.tensor(here))
        return index + 1

    with closing(side_by_side(fill, range(len(maps)), predictor.lanes)) as counted:
        for done in counted:
            if progress is not None:
                progress(done, len(maps))
            if glimpse is not None:
                glimpse(done - 1, partial(_one, maps, prepared.geometry, done - 1))
    return from_output(maps, prepared.geometry), prepared


def _one(maps: npt.NDArray[np.float32], geometry: Geometry, index: int) -> npt.NDArray[np.float32]:
    """The probability map of one slice, (row, column) as the study."""
    lone = replace(geometry, shape=(1, *geometry.shape[1:]))
    probability: npt.NDArray[np.float32] = from_output(maps[index : index + 1], lone)[0]
    return probability

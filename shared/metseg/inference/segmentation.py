"""Segmentation: a study goes in, its lesions come out, whatever computes the probabilities."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from metseg.contracts import Lesion, OutOfDistribution, Preprocessing
from metseg.imaging import (
    Array,
    Float32Array,
    Geometry,
    Mask,
    ModelInput,
    Preprocessor,
    ProbabilityMap,
    Region,
    Volume,
    lesions,
)
from metseg.parallel import parallel_map

__all__ = ["LazyProbabilityMap", "OnSlice", "Predictor", "Segmentation", "predict", "segment"]

OnSlice = Callable[[int, Float32Array], None]
"""Called with the index of a slice that is done and its probability map, (row, column) as the study."""


class Predictor(Protocol):
    """A model, whatever runs it."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The contract that the model's input has to follow."""

    @property
    def threshold(self) -> float:
        """The lowest probability of a lesion's pixels."""

    @property
    def smallest_lesion_px(self) -> float:
        """The size, in reference pixels over all slices, below which a component of the mask is removed."""

    @property
    def max_concurrency(self) -> int:
        """How many calls may run concurrently."""

    @property
    def batch_size(self) -> int:
        """How many slices a call should have."""

    def __call__(self, tensor: Float32Array) -> Float32Array:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""


class LazyProbabilityMap:
    """The probability map of a study, stored in model pixels; a slice is restored to the study's size on access.

    `numpy.asarray` makes it an array.

    Args:
        maps: float32 in [0, 1], (slice, row, column) of the geometry's box.
        geometry: the way back.

    Attributes:
        shape: of the study.
    """

    def __init__(self, maps: Float32Array, geometry: Geometry) -> None:
        self._maps = maps
        self._slice_geometry = replace(geometry, shape=(1, *geometry.shape[1:]))
        self.shape: tuple[int, ...] = geometry.shape

    def slice(self, index: int) -> Float32Array:
        """A slice, (row, column)."""
        probability: Float32Array = Preprocessor.restore(self._maps[index : index + 1], self._slice_geometry)[0]
        return probability

    def __iter__(self) -> Iterator[Float32Array]:
        return map(self.slice, range(len(self._maps)))

    def __getitem__(self, region: Region) -> Float32Array:
        slices, rows, columns = region
        return np.stack([self.slice(index)[rows, columns] for index in range(*slices.indices(len(self._maps)))])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: ANN401 (NumPy's)
        return np.asarray(np.stack(list(self)), dtype)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The lesions of a study.

    Attributes:
        probability: float32 in [0, 1], (slice, row, column), as the study.
        mask: bool, the same shape: where the probability reaches the threshold, without components below the model's
            smallest lesion.
        threshold: the one that was used.
        lesions: the components of the mask, largest first.
        warnings: sentences for the reader of the result.
        model_input: what it was computed from.
        familiarity: how far the study lies from the training data; None where the model has no reference.
        uncertainty: float32 in [0, 1], the same shape; None where it was not asked for.
        uncertainty_words: the same in a sentence.
        smallest_lesion_px: the number of voxels below which a component was removed from the mask.
    """

    probability: ProbabilityMap
    mask: Mask
    threshold: float
    lesions: list[Lesion]
    warnings: tuple[str, ...]
    model_input: ModelInput | None = None
    familiarity: OutOfDistribution | None = None
    uncertainty: Float32Array | None = None
    uncertainty_words: str | None = None
    smallest_lesion_px: float = 0


def segment(
    volume: Volume,
    predictor: Predictor,
    threshold: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_slice: OnSlice | None = None,
) -> Segmentation:
    """Segment a study.

    Args:
        volume: the study; one slice or many.
        predictor: the model.
        threshold: from 0 to 1; None takes the model's own.
        progress: called with (slices done, slices in all) after each slice; an exception that it raises stops the work.
        on_slice: called with each slice in order, while others are computed.

    Returns:
        Mask, lesions and probability map, without uncertainty and comparison to the training data.
    """
    threshold = predictor.threshold if threshold is None else threshold
    model_input = Preprocessor(predictor.preprocessing).prepare(volume)
    maps = np.zeros(model_input.pixels.shape[:3], np.float32)
    probability = LazyProbabilityMap(maps, model_input.geometry)
    mask = np.empty(volume.shape, np.bool_)
    with closing(_predict_slices(model_input, predictor, maps)) as predicted:
        for index in predicted:
            slice_map = probability.slice(index)
            np.greater_equal(slice_map, threshold, out=mask[index])
            if on_slice is not None:
                on_slice(index, slice_map)
            if progress is not None:
                progress(index + 1, len(maps))
    smallest_lesion_px = predictor.smallest_lesion_px / model_input.geometry.reference_px
    mask = lesions.remove_small(mask, smallest_lesion_px)
    return Segmentation(
        probability,
        mask,
        threshold,
        lesions.measure(mask, volume.spacing_mm, probability, volume.affine),
        volume.warnings,
        model_input,
        smallest_lesion_px=smallest_lesion_px,
    )


def predict(volume: Volume, predictor: Predictor) -> Float32Array:
    """The probability map of a study.

    Args:
        volume: the study.
        predictor: the model.

    Returns:
        float32 in [0, 1], (slice, row, column), as the study.
    """
    model_input = Preprocessor(predictor.preprocessing).prepare(volume)
    maps = np.zeros(model_input.pixels.shape[:3], np.float32)
    with closing(_predict_slices(model_input, predictor, maps)) as predicted:
        deque(predicted, maxlen=0)
    return Preprocessor.restore(maps, model_input.geometry)


def _predict_slices(model_input: ModelInput, predictor: Predictor, maps: Float32Array) -> Generator[int, None, None]:
    """Fill the maps, (slice, row, column) in model pixels; yields the index of each slice that is done, in order.

    On a CPU each slice is a batch: larger ones gain nothing, and progress is reported sooner.
    """
    size = predictor.batch_size

    def fill(first: int) -> range:
        batch = range(first, min(first + size, len(maps)))
        if occupied := [index for index in batch if model_input.occupied[index]]:
            maps[occupied] = predictor(model_input.tensor(occupied))
        return batch

    with closing(parallel_map(fill, range(0, len(maps), size), predictor.max_concurrency)) as batches:
        for batch in batches:
            yield from batch

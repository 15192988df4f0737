"""The pipeline: a study goes in, its lesions come out, whatever computes the probabilities."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from metseg.contracts import Familiarity, Lesion, Preprocessing
from metseg.imaging import Geometry, ModelInput, Preprocessor, Volume, lesions
from metseg.parallel import parallel_map

Floats = npt.NDArray[np.float32]
Seen = Callable[[int, Floats], None]
"""Is told which slice is done, and its probability map, (row, column) as the study."""


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
        """How many calls may be made side by side."""

    @property
    def batch(self) -> int:
        """How many slices a call should have."""

    def __call__(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""


class ProbabilityMap:
    """The probability map of a study, kept in model pixels: a slice has the study's size only while it is looked at.

    `numpy.asarray` makes it an array, as does whatever calls that.

    Args:
        maps: float32 in [0, 1], (slice, row, column) of the geometry's box.
        geometry: the way back.

    Attributes:
        shape: of the study.
    """

    def __init__(self, maps: Floats, geometry: Geometry) -> None:
        self._maps = maps
        self._lone = replace(geometry, shape=(1, *geometry.shape[1:]))
        self.shape: tuple[int, ...] = geometry.shape

    def slice(self, index: int) -> Floats:
        """A slice, (row, column)."""
        probability: Floats = Preprocessor.restore(self._maps[index : index + 1], self._lone)[0]
        return probability

    def __iter__(self) -> Iterator[Floats]:
        return map(self.slice, range(len(self._maps)))

    def __getitem__(self, where: lesions.Region) -> Floats:
        slices, rows, columns = where
        return np.stack([self.slice(index)[rows, columns] for index in range(*slices.indices(len(self._maps)))])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: ANN401 (NumPy's)
        return np.asarray(np.stack(list(self)), dtype)


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

    probability: lesions.ProbabilityMap
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
    seen: Seen | None = None,
) -> Segmentation:
    """Segment a study.

    Args:
        volume: the study; one slice or many.
        predictor: the model.
        threshold: from 0 to 1; None takes the model's own.
        progress: told (slices done, slices in all) after each slice; what it raises ends the work.
        seen: given each slice in order, while others are computed.
    """
    threshold = predictor.threshold if threshold is None else threshold
    prepared = Preprocessor(predictor.preprocessing).prepare(volume)
    maps = np.zeros(prepared.pixels.shape[:3], np.float32)
    probability = ProbabilityMap(maps, prepared.geometry)
    mask = np.empty(volume.shape, np.bool_)
    with closing(_computed(prepared, predictor, maps)) as computed:
        for index in computed:
            here = probability.slice(index)
            np.greater_equal(here, threshold, out=mask[index])
            if seen is not None:
                seen(index, here)
            if progress is not None:
                progress(index + 1, len(maps))
    smallest = predictor.smallest_lesion_px / prepared.geometry.reference_px
    mask = lesions.remove_small(mask, smallest)
    return Segmentation(
        probability,
        mask,
        threshold,
        lesions.measure(mask, volume.spacing_mm, probability, volume.affine),
        volume.warnings,
        prepared,
    )


def probabilities(volume: Volume, predictor: Predictor) -> Floats:
    """The probability map of a study: float32 in [0, 1], (slice, row, column); see `segment`."""
    prepared = Preprocessor(predictor.preprocessing).prepare(volume)
    maps = np.zeros(prepared.pixels.shape[:3], np.float32)
    with closing(_computed(prepared, predictor, maps)) as computed:
        deque(computed, maxlen=0)
    return Preprocessor.restore(maps, prepared.geometry)


def _computed(prepared: ModelInput, predictor: Predictor, maps: Floats) -> Generator[int, None, None]:
    """Fills the maps, (slice, row, column) in model pixels, and tells each slice that is done, in order.

    On a CPU slices go through the model each for itself: a batch gains nothing, and progress is told sooner.
    """
    size = predictor.batch

    def fill(first: int) -> range:
        part = range(first, min(first + size, len(maps)))
        if chosen := [index for index in part if prepared.occupied[index]]:
            maps[chosen] = predictor(prepared.tensor(chosen))
        return part

    with closing(parallel_map(fill, range(0, len(maps), size), predictor.lanes)) as parts:
        for part in parts:
            yield from part

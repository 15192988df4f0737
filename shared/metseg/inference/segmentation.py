"""Segmentation: from a study to its lesions, with any predictor of probabilities."""

from collections import deque
from collections.abc import Callable, Container, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from metseg.contracts import Lesion, OperatingPoint, OutOfDistribution, Preprocessing, Structure
from metseg.imaging import (
    FLAIR,
    POST,
    Array,
    Float32Array,
    Geometry,
    Mask,
    ModelInput,
    Preprocessor,
    ProbabilityMap,
    Region,
    Volume,
    label_lesions,
    lesions,
    select_components,
    threshold_levels,
)
from metseg.parallel import parallel_map

__all__ = [
    "LazyProbabilityMap",
    "OnSlice",
    "Predictor",
    "Segmentation",
    "StructureMap",
    "choose_operating_points",
    "measured_structure",
    "predict",
    "segment",
]

OnSlice = Callable[[int, Mapping[Structure, Float32Array]], None]
"""Called with the index of a slice that is done and its probability maps, (row, column) as the study, by structure."""

MODEL_WITHOUT_CORE = (
    "The model outlines the FLAIR abnormality, tumour with oedema, and not the tumour itself; so what is measured is "
    "the abnormality, and no target lesion is proposed."
)
STUDY_WITHOUT_CORE = (
    "Without post-contrast T1 the tumour itself cannot be outlined; so what is outlined and measured is the FLAIR "
    "abnormality, and no target lesion is proposed."
)

STUDY_WITHOUT_FLAIR = (
    "Without FLAIR the abnormality around the tumour is hardly visible; its outline and its volume are unreliable."
)

MAX_SLICE_DISTANCE_MM = 3.0
"""Above it, a result states from which size on lesions can be expected to be visible."""


class Predictor(Protocol):
    """A model, independent of its runtime."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The contract of the model's input."""

    @property
    def operating_points(self) -> Mapping[Structure, OperatingPoint]:
        """How the mask of each structure is made; structures are in the order of the model's maps."""

    @property
    def max_concurrency(self) -> int:
        """How many calls may run concurrently."""

    @property
    def batch_size(self) -> int:
        """How many slices a call should have."""

    def __call__(self, tensor: Float32Array) -> Float32Array:
        """Probabilities in [0, 1], (structure, slice, row, column), of a (slice, row, column, channel) input."""


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
class StructureMap:
    """One structure of a study.

    Attributes:
        probability: float32 in [0, 1], (slice, row, column), as the study.
        mask: bool, the same shape, made from `probability` by `point`.
        point: how.
        min_voxels: the number of voxels below which a component was removed from the mask.
    """

    probability: ProbabilityMap
    mask: Mask
    point: OperatingPoint
    min_voxels: float


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The structures and the lesions of a study.

    Attributes:
        structures: all that can be known of the study; the mask of the core lies within that of the whole.
        structure: what the lesions are components of: the core, or the whole where no core is known.
        lesions: largest first.
        warnings: sentences for the reader of the result.
        model_input: what it was computed from.
        familiarity: how far the study lies from the training data; None where the model has no reference.
        uncertainty: float32 in [0, 1], (slice, row, column), of `structure`; None where it was not asked for.
        uncertainty_words: the same in a sentence.
    """

    structures: Mapping[Structure, StructureMap]
    structure: Structure
    lesions: list[Lesion]
    warnings: tuple[str, ...]
    model_input: ModelInput | None = None
    familiarity: OutOfDistribution | None = None
    uncertainty: Float32Array | None = None
    uncertainty_words: str | None = None

    @property
    def probability(self) -> ProbabilityMap:
        """Of the structure that the lesions are components of."""
        return self.structures[self.structure].probability

    @property
    def mask(self) -> Mask:
        """Of the structure that the lesions are components of."""
        return self.structures[self.structure].mask

    @property
    def point(self) -> OperatingPoint:
        """Of the structure that the lesions are components of."""
        return self.structures[self.structure].point


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
        threshold: of the lesions' mask, from 0 to 1, in place of both thresholds of the model; None takes the model's.
        progress: called with (slices done, slices in all) after each slice; an exception that it raises stops the work.
        on_slice: called with each slice in order, while others are computed.

    Returns:
        Structures and lesions, without uncertainty and comparison to the training data.
    """
    points = choose_operating_points(volume, predictor, threshold)
    model_input = Preprocessor(predictor.preprocessing).prepare(volume)
    maps = _empty_maps(model_input, predictor)
    found = {
        structure: _StructureBuilder(LazyProbabilityMap(one, model_input.geometry), points[structure])
        for structure, one in zip(predictor.operating_points, maps, strict=True)
        if structure in points
    }
    with closing(_predict_slices(model_input, predictor, maps)) as predicted:
        for index in predicted:
            slice_maps = {structure: builder.add(index) for structure, builder in found.items()}
            if on_slice is not None:
                on_slice(index, slice_maps)
            if progress is not None:
                progress(index + 1, len(volume.pixels))
    structures = {structure: builder.build(model_input.geometry.voxel_mm3) for structure, builder in found.items()}
    if "core" in structures:
        np.logical_or(structures["whole"].mask, structures["core"].mask, out=structures["whole"].mask)
    structure = measured_structure(points)
    return Segmentation(
        structures,
        structure,
        _measure(structures, structure, volume),
        (*volume.warnings, *_structure_warnings(structure, volume, predictor), *_distance_warnings(volume)),
        model_input,
    )


def choose_operating_points(
    volume: Volume, predictor: Predictor, threshold: float | None = None
) -> dict[Structure, OperatingPoint]:
    """The structures that can be segmented in a study, and how.

    A slice that is sent alone is one that shows something, so that a lower threshold is right for it.

    Args:
        volume: the study; without post-contrast T1 its core cannot be known.
        predictor: the model.
        threshold: of the lesions' mask, in place of both thresholds of the model; None takes the model's.

    Returns:
        Operating points by structure, core first.
    """
    points = {
        structure: _for_single_slice(point) if len(volume.names) == 1 else point
        for structure, point in predictor.operating_points.items()
        if structure != "core" or volume.present[POST]
    }
    if threshold is not None:
        update = {"threshold": threshold, "seed_threshold": threshold}
        structure = measured_structure(points)
        points[structure] = points[structure].model_copy(update=update)
    return points


def _for_single_slice(point: OperatingPoint) -> OperatingPoint:
    seed_threshold = point.single_slice_seed_threshold
    return point if seed_threshold is None else point.model_copy(update={"seed_threshold": seed_threshold})


def measured_structure(structures: Container[Structure]) -> Structure:
    """The structure whose components are the lesions."""
    return "core" if "core" in structures else "whole"


class _StructureBuilder:
    """Makes the mask of a structure slice by slice.

    Args:
        probability: its map.
        point: how.
    """

    def __init__(self, probability: LazyProbabilityMap, point: OperatingPoint) -> None:
        self._probability, self._point = probability, point
        self._levels = np.zeros(probability.shape, np.uint8)

    def add(self, index: int) -> Float32Array:
        """Take the next slice, whose map is done, and return that map, (row, column)."""
        slice_map = self._probability.slice(index)
        self._levels[index] = threshold_levels(slice_map, self._point.threshold, self._point.seed_threshold)
        return slice_map

    def build(self, voxel_mm3: float) -> StructureMap:
        """The structure, after all slices."""
        min_voxels = self._point.min_volume_mm3 / voxel_mm3
        return StructureMap(self._probability, select_components(self._levels, min_voxels), self._point, min_voxels)


def _measure(structures: Mapping[Structure, StructureMap], structure: Structure, volume: Volume) -> list[Lesion]:
    """The lesions; those of the core with the abnormality around them."""
    found, spacing_mm = structures[structure], volume.spacing_mm
    targets = structure == "core"
    measured = lesions.measure(found.mask, spacing_mm, found.probability, volume.affine, choose_targets=targets)
    if structure == "whole":
        return measured
    labels = label_lesions(found.mask)
    return lesions.measure_surroundings(measured, labels, structures["whole"].mask, spacing_mm)


def _structure_warnings(structure: Structure, volume: Volume, predictor: Predictor) -> list[str]:
    warnings = [] if volume.present[FLAIR] else [STUDY_WITHOUT_FLAIR]
    if structure == "core":
        return warnings
    return [STUDY_WITHOUT_CORE if "core" in predictor.operating_points else MODEL_WITHOUT_CORE, *warnings]


def _distance_warnings(volume: Volume) -> list[str]:
    """A lesion as long as the distance of slices fills at least half of one of them, wherever it lies."""
    if volume.spacing_mm is None or len(volume.pixels) == 1 or volume.spacing_mm[0] <= MAX_SLICE_DISTANCE_MM:
        return []
    distance = f"{volume.spacing_mm[0]:.2g} mm"
    return [
        f"Slices are {distance} apart: lesions can be expected to be visible from a diameter of about {distance} on; "
        "smaller ones may lie between two slices."
    ]


def predict(volume: Volume, predictor: Predictor) -> dict[Structure, Float32Array]:
    """The probability maps of a study.

    Args:
        volume: the study.
        predictor: the model.

    Returns:
        float32 in [0, 1], (slice, row, column), as the study, by structure.
    """
    model_input = Preprocessor(predictor.preprocessing).prepare(volume)
    maps = _empty_maps(model_input, predictor)
    with closing(_predict_slices(model_input, predictor, maps)) as predicted:
        deque(predicted, maxlen=0)
    return {
        structure: Preprocessor.restore(one, model_input.geometry)
        for structure, one in zip(predictor.operating_points, maps, strict=True)
    }


def _empty_maps(model_input: ModelInput, predictor: Predictor) -> Float32Array:
    """(structure, slice, row, column) in model pixels."""
    return np.zeros((len(predictor.operating_points), *model_input.pixels.shape[:3]), np.float32)


def _predict_slices(model_input: ModelInput, predictor: Predictor, maps: Float32Array) -> Generator[int, None, None]:
    """Fill the maps, (structure, slice, row, column) in model pixels; yields the index of each slice done, in order.

    On a CPU each slice is a batch: larger ones gain nothing, and progress is reported sooner.
    """
    size, slices = predictor.batch_size, maps.shape[1]

    def fill(first: int) -> range:
        batch = range(first, min(first + size, slices))
        if occupied := [index for index in batch if model_input.occupied[index]]:
            maps[:, occupied] = _predict_batch(model_input.tensor(occupied), predictor)
        return batch

    with closing(parallel_map(fill, range(0, slices, size), predictor.max_concurrency)) as batches:
        for batch in batches:
            yield from batch


def _predict_batch(tensor: Float32Array, predictor: Predictor) -> Float32Array:
    """The maps of some slices, (structure, slice, row, column), those that reach `mirrored_from` averaged."""
    maps = predictor(tensor)
    limits = [point.mirrored_from for point in predictor.operating_points.values()]
    reached = [one.max(axis=(1, 2)) >= limit for one, limit in zip(maps, limits, strict=True) if limit is not None]
    [chosen] = np.nonzero(np.any(reached, axis=0)) if reached else [np.array([], np.intp)]
    if len(chosen):
        mirrored = predictor(np.ascontiguousarray(tensor[chosen][:, :, ::-1]))[..., ::-1]
        maps[:, chosen] = (maps[:, chosen] + mirrored) / 2
    return maps

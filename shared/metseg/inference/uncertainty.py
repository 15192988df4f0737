"""Uncertainty: how far several predictions of one study agree.

Test-time augmentation predicts a study again mirrored, left for right; an ensemble adds the registry's other network
where there is one, on the study as it is and mirrored. Each such prediction is a view; where the segmentation is the
average of both sides (`mirrored_from`), each of the two is another view. Where the views differ, the model is
uncertain: Wang et al. (Neurocomputing 2019;338:34-45) take their spread for the uncertainty of each pixel, Roy et al.
(NeuroImage 2019;195:11-22) their overlap, structure by structure, for that of a structure.

Only slices in which the first view reaches a probability of `MIN_PROBABILITY` are predicted again. Most slices do not,
so they have no uncertainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.contracts import Lesion
from metseg.imaging import (
    CONNECTIVITY_26,
    Float32Array,
    LabelMap,
    Mask,
    ModelInput,
    Preprocessor,
    Volume,
    label_lesions,
)
from metseg.inference.segmentation import Predictor, Segmentation, choose_operating_points, measured_structure
from metseg.parallel import parallel_map

__all__ = ["estimate_uncertainty"]


MIN_PROBABILITY = 0.1
"""Slices that reach it are predicted again."""
MIN_SURE_OVERLAP = 0.7
"""The overlap from which the extent of a lesion found in all views is called sure."""


@dataclass(frozen=True, eq=False)
class _View:
    """One prediction: the probability map of the slices that were predicted again, and the mask of the whole study."""

    probability: Float32Array
    mask: Mask


def estimate_uncertainty(volume: Volume, first: Segmentation, predictors: Sequence[Predictor]) -> Segmentation:
    """Estimate the uncertainty of a segmentation by test-time augmentation and an ensemble.

    Args:
        volume: the study.
        first: what the first predictor found in it.
        predictors: the one that found it, and the other members of the ensemble; those whose lesions are components of
            another structure are left out.

    Returns:
        The same segmentation with `uncertainty`: float32 in [0, 1], twice the standard deviation of the views'
        probabilities, 0 in slices that were not predicted again. Each lesion has its own uncertainty, 1 less the mean
        overlap (intersection over union) of the other views with the first. Both are described in words.
    """
    [chosen] = np.nonzero([one.max() >= MIN_PROBABILITY for one in first.probability])
    views = _views(volume, first, predictors, chosen)
    spread = np.zeros(volume.shape, np.float32)
    for position, index in enumerate(chosen.tolist()):
        first_view = first.probability[index : index + 1, :, :]
        maps = np.stack([first_view, *(view.probability[position : position + 1] for view in views)])
        spread[index : index + 1] = np.minimum(2 * maps.std(axis=0), 1)
    masks = [view.mask for view in views]
    del views  # their probabilities may be as large as the study
    rated = _rate_lesions(first, masks)
    return replace(first, uncertainty=spread, lesions=rated, uncertainty_words=_summary(rated, len(masks) + 1))


def _views(
    volume: Volume, first: Segmentation, predictors: Sequence[Predictor], chosen: npt.NDArray[np.intp]
) -> list[_View]:
    """Every view but the first."""
    views = []
    for number, predictor in enumerate(predictors):
        points = choose_operating_points(volume, predictor)
        if measured_structure(points) != first.structure:
            continue
        model_input = first.model_input
        if model_input is None or predictor.preprocessing != predictors[0].preprocessing:
            model_input = Preprocessor(predictor.preprocessing).prepare(volume)
        threshold = (points[first.structure] if number else first.point).threshold
        map_index = list(predictor.operating_points).index(first.structure)
        averaged = points[first.structure].mirrored_from is not None
        for mirrored in (False, True) if number or averaged else (True,):
            probability = _predict_view(model_input, predictor, map_index, chosen, mirrored=mirrored)
            mask = np.zeros(volume.shape, bool)
            mask[chosen] = probability >= threshold
            views.append(_View(probability, mask))
    return views


def _predict_view(
    model_input: ModelInput, predictor: Predictor, map_index: int, chosen: npt.NDArray[np.intp], *, mirrored: bool
) -> Float32Array:
    """One of the model's maps of some slices, (slice, row, column) as the study."""
    maps = np.zeros((len(chosen), *model_input.geometry.box), np.float32)

    def fill(first: int) -> None:
        batch = slice(first, first + predictor.batch_size)
        tensor = model_input.tensor(chosen[batch].tolist())
        predicted = predictor(tensor[:, :, ::-1])[..., ::-1] if mirrored else predictor(tensor)
        maps[batch] = predicted[map_index]

    for _ in parallel_map(fill, range(0, len(chosen), predictor.batch_size), predictor.max_concurrency):
        pass
    geometry = replace(model_input.geometry, shape=(len(chosen), *model_input.geometry.shape[1:]))
    return Preprocessor.restore(maps, geometry)


def _rate_lesions(first: Segmentation, masks: Sequence[Mask]) -> list[Lesion]:
    """The lesions with their uncertainty by the masks of the other views."""
    numbers = label_lesions(first.mask)
    components = [ndimage.label(mask, CONNECTIVITY_26)[0] for mask in masks]
    return [_rate_lesion(lesion, numbers, components) for lesion in first.lesions]


def _rate_lesion(lesion: Lesion, numbers: LabelMap, others: Sequence[LabelMap]) -> Lesion:
    overlaps = [_overlap(lesion, numbers, labels) for labels in others]
    agreement = float(np.mean(overlaps))
    found_in, views = 1 + sum(overlap > 0 for overlap in overlaps), 1 + len(overlaps)
    if found_in < views:
        words = f"unsure: found in {found_in} of {views} views"
    elif agreement < MIN_SURE_OVERLAP:
        words = f"found in all {views} views, unsure of its extent: they agree on {agreement:.0%} of it"
    else:
        words = f"sure: found in all {views} views, which agree on {agreement:.0%} of it"
    return lesion.model_copy(update={"uncertainty": 1 - agreement, "uncertainty_words": words})


def _overlap(lesion: Lesion, numbers: LabelMap, labels: LabelMap) -> float:
    """Intersection over union of a lesion and the components that touch it in another view, less other lesions."""
    box = tuple(slice(*ends) for ends in zip(lesion.box.first, lesion.box.stop, strict=True))
    own = numbers[box] == lesion.number
    intersection = int(np.count_nonzero(labels[box][own]))
    if not intersection:
        return 0.0
    touching = np.unique(labels[box][own])
    theirs = np.isin(labels, touching[touching > 0]) & ((numbers == 0) | (numbers == lesion.number))
    return intersection / (lesion.voxels + int(np.count_nonzero(theirs)) - intersection)


def _summary(rated: Sequence[Lesion], views: int) -> str:
    start = f"Compared {views} views"
    if not rated:
        return f"{start}: no lesion was found."
    unsure = [str(lesion.number) for lesion in rated if not (lesion.uncertainty_words or "").startswith("sure")]
    if not unsure:
        return f"{start}: sure of {'the lesion' if len(rated) == 1 else f'all {len(rated)} lesions'}."
    sure = f"sure of {len(rated) - len(unsure)} of {len(rated)} lesion{'s' * (len(rated) > 1)}"
    return f"{start}: {sure}, unsure of lesion{'s' * (len(unsure) > 1)} {', '.join(unsure)}."

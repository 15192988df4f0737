"""Uncertainty: how far several looks at one study agree.

A study is looked at again mirrored, left for right, and by the registry's other network where there is one, as it is
and mirrored. What changes though the study does not is what the model is not sure of: Wang et al. (Neurocomputing
2019;338:34-45) take the spread of such looks for the uncertainty of each pixel, Roy et al. (NeuroImage 2019;195:11-22)
their overlap, structure by structure, for that of a structure.

Only slices in which the first look met a probability of `FLOOR` are looked at again: in the others there is nothing to
be unsure of, and most slices of a study are such.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.contracts import Lesion
from metseg.imaging import ModelInput, Preprocessor, Volume, lesions
from metseg.inference.segmentation import Predictor, Segmentation
from metseg.parallel import parallel_map

__all__ = ["look_again"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]

FLOOR = 0.1
"""The probability that makes a slice worth another look."""
SURE = 0.7
"""From this overlap on, of a lesion found in all views, its extent counts as sure."""
CONNECTIVITY_26 = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class _View:
    """What one look found in the slices that were looked at again; masks as (slice, row, column) of the study."""

    probability: Floats
    mask: Mask


def look_again(volume: Volume, first: Segmentation, predictors: Sequence[Predictor]) -> Segmentation:
    """Ask how sure a segmentation is.

    Args:
        volume: the study.
        first: what the first predictor found in it.
        predictors: the one that found it, and others that looked at nothing yet.

    Returns:
        The same segmentation with `uncertainty`: float32 in [0, 1], twice the standard deviation of the views'
        probabilities, 0 in slices that were not looked at again; with lesions that tell theirs, 1 less the mean
        overlap (intersection over union) of the other views with the first; and with words for both.
    """
    [chosen] = np.nonzero([one.max() >= FLOOR for one in first.probability])
    views = _views(volume, first, predictors, chosen)
    spread = np.zeros(volume.shape, np.float32)
    for place, index in enumerate(chosen.tolist()):
        here = first.probability[index : index + 1, :, :]
        looks = np.stack([here, *(view.probability[place : place + 1] for view in views)])
        spread[index : index + 1] = np.minimum(2 * looks.std(axis=0), 1)
    told = _judged(first, [view.mask for view in views])
    return replace(first, uncertainty=spread, lesions=told, uncertainty_words=_summary(told, len(views) + 1))


def _views(
    volume: Volume, first: Segmentation, predictors: Sequence[Predictor], chosen: npt.NDArray[np.intp]
) -> list[_View]:
    """Each look but the first."""
    found = []
    for number, predictor in enumerate(predictors):
        known = first.prepared is not None and predictor.preprocessing == predictors[0].preprocessing
        prepared = (
            first.prepared
            if known and first.prepared is not None
            else Preprocessor(predictor.preprocessing).prepare(volume)
        )
        threshold = predictor.threshold if number else first.threshold
        for mirrored in (False, True) if number else (True,):
            probability = _look(prepared, predictor, chosen, mirrored=mirrored)
            mask = np.zeros(volume.shape, bool)
            mask[chosen] = probability >= threshold
            found.append(_View(probability, mask))
    return found


def _look(prepared: ModelInput, predictor: Predictor, chosen: npt.NDArray[np.intp], *, mirrored: bool) -> Floats:
    """The probability map of some slices, (slice, row, column) as the study."""
    maps = np.zeros((len(chosen), *prepared.geometry.box), np.float32)

    def look(first: int) -> None:
        places = slice(first, first + predictor.batch)
        tensor = prepared.tensor(chosen[places].tolist())
        maps[places] = predictor(tensor[:, :, ::-1])[:, :, ::-1] if mirrored else predictor(tensor)

    for _ in parallel_map(look, range(0, len(chosen), predictor.batch), predictor.lanes):
        pass
    return Preprocessor.restore(maps, replace(prepared.geometry, shape=(len(chosen), *prepared.geometry.shape[1:])))


def _judged(first: Segmentation, others: Sequence[Mask]) -> list[Lesion]:
    """The lesions with what the other views say of them."""
    numbers = lesions.label_lesions(first.mask)
    components = [ndimage.label(mask, CONNECTIVITY_26)[0] for mask in others]
    return [_told(lesion, numbers, components) for lesion in first.lesions]


def _told(lesion: Lesion, numbers: Labels, others: Sequence[Labels]) -> Lesion:
    overlaps = [_overlap(lesion, numbers, labels) for labels in others]
    agreement = float(np.mean(overlaps))
    seen, views = 1 + sum(overlap > 0 for overlap in overlaps), 1 + len(overlaps)
    if seen < views:
        words = f"unsure: found in {seen} of {views} views"
    elif agreement < SURE:
        words = f"found in all {views} views, unsure of its extent: they agree on {agreement:.0%} of it"
    else:
        words = f"sure: found in all {views} views, which agree on {agreement:.0%} of it"
    return lesion.model_copy(update={"uncertainty": 1 - agreement, "uncertainty_words": words})


def _overlap(lesion: Lesion, numbers: Labels, labels: Labels) -> float:
    """Intersection over union of a lesion and what touches it in another view, without what is of other lesions."""
    box = tuple(slice(*ends) for ends in zip(lesion.box.first, lesion.box.stop, strict=True))
    own = numbers[box] == lesion.number
    both = int(np.count_nonzero(labels[box][own]))
    if not both:
        return 0.0
    touching = np.unique(labels[box][own])
    theirs = np.isin(labels, touching[touching > 0]) & ((numbers == 0) | (numbers == lesion.number))
    return both / (lesion.voxels + int(np.count_nonzero(theirs)) - both)


def _summary(told: Sequence[Lesion], views: int) -> str:
    looked = f"Looked at in {views} views"
    if not told:
        return f"{looked}: no lesion to be sure of."
    unsure = [str(lesion.number) for lesion in told if not (lesion.uncertainty_words or "").startswith("sure")]
    if not unsure:
        return f"{looked}: sure of {'the lesion' if len(told) == 1 else f'all {len(told)} lesions'}."
    named = f"lesion{'s' * (len(unsure) > 1)} {', '.join(unsure)}"
    return (
        f"{looked}: sure of {len(told) - len(unsure)} of {len(told)} lesion{'s' * (len(told) > 1)}, unsure of {named}."
    )

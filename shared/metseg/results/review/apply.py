"""A review applied to a model's answer: masks, lesions, sums, warnings, and how far reader and model agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metseg.contracts import (
    Lesion,
    LesionDecision,
    Result,
    Review,
    ReviewAgreement,
    ReviewStamp,
    SliceMeasurements,
    Structure,
    StructureMeasurements,
)
from metseg.errors import InvalidParameter
from metseg.imaging import (
    Affine,
    Component,
    Mask,
    find_components,
    label_components,
    lesions,
    measure_components,
)
from metseg.results.review.decisions import DecidedLesions, decide, remove_rejected_surroundings
from metseg.results.review.masks import reviewed_masks
from metseg.results.review.probability import StoredProbability

__all__ = ["ModelAnswer", "ReviewedAnswer", "apply_review"]

NO_CORE = (
    "The core of this study is not known: what is reviewed is the FLAIR abnormality, which has no core to correct and "
    "no target lesion."
)
SMALL_TARGET = "{} {} is a target by the reader's choice; it is smaller than RANO-BM asks of a target."
MANY_TARGETS = "The reader chose {} target lesions; RANO-BM follows at most 5."


@dataclass(frozen=True, eq=False)
class ModelAnswer:
    """What a model found in a study, as it is stored.

    Attributes:
        result: its figures.
        masks: bool, (slice, row, column), of each structure that was segmented; the core lies within the whole.
        probabilities: of the lesions' structure, and of every structure whose threshold is to change.
        affine: from (column, row, slice) to patient millimetres (RAS+); None if unknown.
    """

    result: Result
    masks: Mapping[Structure, Mask]
    probabilities: Mapping[Structure, StoredProbability]
    affine: Affine | None


@dataclass(frozen=True, eq=False)
class ReviewedAnswer:
    """What a reader made of it.

    Attributes:
        result: the figures, with `review` and `rejected`.
        masks: of the same structures, in the same shape.
        components: of the lesions, in the order of their numbers.
        agreement: of reader and model.
        affine: as the model's.
        stamp: which review it is.
    """

    result: Result
    masks: Mapping[Structure, Mask]
    components: Sequence[Component]
    agreement: ReviewAgreement
    affine: Affine | None
    stamp: ReviewStamp


def apply_review(answer: ModelAnswer, review: Review, stamp: ReviewStamp) -> ReviewedAnswer:
    """Apply a review in the order that `metseg.contracts.review` describes.

    Args:
        answer: the model's own.
        review: the reader's changes.
        stamp: which review it is; becomes part of the result.

    Returns:
        The reviewed answer; the model's own is unchanged.

    Raises:
        InvalidParameter: the review refers to voxels outside of the volume, or to a core that is not known.
    """
    own = answer.result
    if own.structure != "core" and _needs_core(review):
        raise InvalidParameter(NO_CORE)
    masks = reviewed_masks(review, answer.masks, answer.probabilities, own.structures)
    decided = decide(masks[own.structure], review, own.finding)
    for region, component in decided.rejected:
        masks[own.structure][region] &= ~component
    if own.structure == "core":
        remove_rejected_surroundings(masks["whole"], decided)
    found = _measure(answer, decided, masks)
    sum_px, sum_mm = lesions.sum_target_diameters(found)
    result = own.model_copy(
        update={
            "structures": {name: _measure_structure(answer, review, name, mask) for name, mask in masks.items()},
            "lesions": found,
            "rejected": _measure_rejected(answer, decided),
            "target_diameter_sum_px": sum_px,
            "target_diameter_sum_mm": sum_mm,
            "slices": _measure_slices(answer, masks[own.structure], decided.kept),
            "warnings": list(dict.fromkeys([*own.warnings, *decided.warnings, *_target_warnings(own, found, review)])),
            "review": stamp,
        }
    )
    return ReviewedAnswer(result, masks, decided.kept, _agreement(answer, masks), answer.affine, stamp)


def _needs_core(review: Review) -> bool:
    return "core" in review.thresholds or "core" in review.corrections or any(each.target for each in review.lesions)


def _measure(answer: ModelAnswer, decided: DecidedLesions, masks: Mapping[Structure, Mask]) -> list[Lesion]:
    """The lesions that count, with a reader's labels and targets."""
    own = answer.result
    found = measure_components(
        decided.kept,
        own.shape[0],
        own.spacing_mm,
        answer.probabilities[own.structure],
        answer.affine,
        choose_targets=own.structure == "core",
    )
    if own.structure == "core":
        labels = label_components(decided.kept, own.shape, np.min_scalar_type(len(found)))
        found = lesions.measure_surroundings(found, labels, masks["whole"], own.spacing_mm)
    unchanged = {(lesion.box, lesion.voxels): lesion for lesion in own.lesions}
    return [
        lesion.model_copy(
            update=_origin(unchanged.get((lesion.box, lesion.voxels)), component, answer.masks[own.structure])
            | _choices(decided.decisions.get(index))
        )
        for index, (lesion, component) in enumerate(zip(found, decided.kept, strict=True))
    ]


def _origin(own: Lesion | None, component: Component, model_mask: Mask) -> dict[str, object]:
    """Who outlined a lesion; one that the review leaves as it was is as uncertain as it was."""
    if own is not None:
        return {"uncertainty": own.uncertainty, "uncertainty_words": own.uncertainty_words}
    region, inside = component
    return {"outlined_by": "both" if model_mask[region][inside].any() else "reader"}


def _choices(decision: LesionDecision | None) -> dict[str, object]:
    if decision is None:
        return {}
    return {"label": decision.label} | ({} if decision.target is None else {"target": decision.target})


def _measure_rejected(answer: ModelAnswer, decided: DecidedLesions) -> list[Lesion]:
    own = answer.result
    probability = answer.probabilities[own.structure]
    return measure_components(
        decided.rejected, own.shape[0], own.spacing_mm, probability, answer.affine, choose_targets=False
    )


def _measure_structure(answer: ModelAnswer, review: Review, structure: Structure, mask: Mask) -> StructureMeasurements:
    own, spacing_mm = answer.result.structures[structure], answer.result.spacing_mm
    voxels, threshold = int(np.count_nonzero(mask)), review.thresholds.get(structure)
    rule = {} if threshold is None else {"threshold": threshold, "seed_threshold": threshold}
    volume_mm3 = None if spacing_mm is None else float(voxels * np.prod(spacing_mm))
    return own.model_copy(update={**rule, "voxels": voxels, "volume_mm3": volume_mm3})


def _measure_slices(answer: ModelAnswer, mask: Mask, kept: Sequence[Component]) -> list[SliceMeasurements]:
    """The slices with the lesions that touch them; a joined lesion may leave out slices between its parts."""
    own = answer.result
    touched: list[list[int]] = [[] for _ in own.slices]
    for number, ((slices, _, _), component) in enumerate(kept, start=1):
        for index in np.flatnonzero(component.any(axis=(1, 2))).tolist():
            touched[slices.start + index].append(number)
    pixel_mm2 = None if own.spacing_mm is None else own.spacing_mm[1] * own.spacing_mm[2]
    areas = [int(np.count_nonzero(one)) for one in mask]
    return [
        each.model_copy(
            update={"lesions": numbers, "area_px": area, "area_mm2": None if pixel_mm2 is None else area * pixel_mm2}
        )
        for each, numbers, area in zip(own.slices, touched, areas, strict=True)
    ]


def _target_warnings(own: Result, found: Sequence[Lesion], review: Review) -> list[str]:
    """What RANO-BM would object to in the targets that a reader chose."""
    if not any(decision.target for decision in review.lesions):
        return []
    targets = [lesion for lesion in found if lesion.target]
    measurable = lesions.measurable_numbers(found, own.shape[0], own.spacing_mm)
    small = [
        SMALL_TARGET.format(own.finding.capitalize(), lesion.number)
        for lesion in targets
        if lesion.number not in measurable
    ]
    return small + ([MANY_TARGETS.format(len(targets))] if len(targets) > lesions.MAX_TARGETS else [])


def _agreement(answer: ModelAnswer, masks: Mapping[Structure, Mask]) -> ReviewAgreement:
    structure = answer.result.structure
    model, reader = answer.masks[structure], masks[structure]
    return ReviewAgreement(
        dice={name: _dice(answer.masks[name], mask) for name, mask in masks.items()},
        lesions_added=_count_apart(reader, model),
        lesions_rejected=_count_apart(model, reader),
    )


def _dice(one: Mask, other: Mask) -> float:
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def _count_apart(mask: Mask, other: Mask) -> int:
    """How many components of a mask share no voxel with another mask."""
    return sum(not other[region][component].any() for region, component in find_components(mask))

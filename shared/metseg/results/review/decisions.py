"""A reader's decisions on lesions: which are joined, rejected, named, and targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from metseg.contracts import LesionDecision, Review, Voxel
from metseg.errors import InvalidParameter
from metseg.imaging import Component, Mask, find_components, join_components

__all__ = ["DecidedLesions", "decide", "remove_rejected_surroundings"]

KEPT_AND_REJECTED = "{} was rejected in one place and kept in another; it is kept."
NOT_FOUND = "{} of a reader's decisions refer to places where no lesion is now; they have no effect."
DECIDED_TWICE = "{} has several labels or choices of target; the first is used."


@dataclass(frozen=True, eq=False)
class DecidedLesions:
    """The components of a mask after a reader's decisions.

    Attributes:
        kept: the lesions that count, largest first.
        rejected: those that do not, largest first.
        decisions: on the kept lesions, by their place in `kept`.
        warnings: sentences for the reader of the result.
    """

    kept: Sequence[Component]
    rejected: Sequence[Component]
    decisions: dict[int, LesionDecision]
    warnings: list[str] = field(default_factory=list)


def decide(mask: Mask, review: Review, finding: str) -> DecidedLesions:
    """Apply the decisions of a review to the components of a mask.

    Args:
        mask: bool, (slice, row, column), with thresholds and corrections applied.
        review: the reader's changes.
        finding: what a lesion is called in warnings.

    Returns:
        The lesions.

    Raises:
        InvalidParameter: a decision refers to a place outside of the volume.
    """
    _check_places(review, mask.shape)
    components = find_components(mask)
    groups, lost = _join(components, review.joined)
    components = join_components(components, groups)
    found, lost_too = _by_lesion(components, review.lesions)
    rejected = {index for index, decisions in found.items() if all(each.decision == "reject" for each in decisions)}
    kept = [index for index in range(len(components)) if index not in rejected]
    numbers = {index: number for number, index in enumerate(kept)}
    decided = DecidedLesions(
        [components[index] for index in kept],
        [components[index] for index in sorted(rejected)],
        {numbers[index]: _first_kept(decisions) for index, decisions in found.items() if index in numbers},
    )
    warnings = [
        text.format(f"{finding[0].upper()}{finding[1:]} {numbers[index] + 1}")
        for index, decisions in found.items()
        if index in numbers
        for text in _doubts(decisions)
    ]
    if missing := lost + lost_too:
        warnings.append(NOT_FOUND.format(missing))
    return replace(decided, warnings=warnings)


def remove_rejected_surroundings(whole: Mask, decided: DecidedLesions) -> None:
    """Remove the abnormalities around rejected cores, unless a kept core lies in the same one.

    Args:
        whole: bool, (slice, row, column), which contains the cores; changed.
        decided: the cores.
    """
    if not decided.rejected:
        return
    kept, rejected = (_mask_of(part, whole.shape) for part in (decided.kept, decided.rejected))
    for region, component in find_components(whole):
        if rejected[region][component].any() and not kept[region][component].any():
            whole[region][component] = False


def _mask_of(components: Sequence[Component], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    for region, component in components:
        mask[region] |= component
    return mask


def _join(components: Sequence[Component], groups: Sequence[Sequence[Voxel]]) -> tuple[list[list[int]], int]:
    """Indices of the components that are joined, and how many voxels are in none."""
    sets, lost = DisjointSet(), 0
    for group in groups:
        indices = [_index_at(components, voxel) for voxel in group]
        lost += indices.count(None)
        present = [index for index in indices if index is not None]
        for index in present:
            sets.add(index)
            sets.merge(present[0], index)
    return [sorted(subset) for subset in sets.subsets()], lost


def _by_lesion(
    components: Sequence[Component], decisions: Sequence[LesionDecision]
) -> tuple[dict[int, list[LesionDecision]], int]:
    """The decisions on each lesion, and how many are on none."""
    found: dict[int, list[LesionDecision]] = {}
    lost = 0
    for decision in decisions:
        index = _index_at(components, decision.voxel)
        if index is None:
            lost += 1
        else:
            found.setdefault(index, []).append(decision)
    return found, lost


def _index_at(components: Sequence[Component], voxel: Voxel) -> int | None:
    """The component at a voxel; None where there is none."""
    for index, (region, component) in enumerate(components):
        inside = [at - side.start for at, side in zip(voxel, region, strict=True)]
        if all(0 <= at < side for at, side in zip(inside, component.shape, strict=True)) and component[tuple(inside)]:
            return index
    return None


def _check_places(review: Review, shape: tuple[int, ...]) -> None:
    """Refuse a decision on a voxel outside of the volume."""
    places = [each.voxel for each in review.lesions] + [voxel for group in review.joined for voxel in group]
    if any(at >= side for voxel in places for at, side in zip(voxel, shape, strict=True)):
        raise InvalidParameter(
            f"A decision refers to a voxel outside of the volume of {' x '.join(map(str, shape))} voxels (slices, "
            "rows, columns)."
        )


def _first_kept(decisions: Sequence[LesionDecision]) -> LesionDecision:
    """Of several decisions on a kept lesion: the first label and the first choice of target of those that keep it."""
    keeping = [each for each in decisions if each.decision == "keep"]
    labels = [each.label for each in keeping if each.label is not None]
    targets = [each.target for each in keeping if each.target is not None]
    return keeping[0].model_copy(
        update={"label": labels[0] if labels else None, "target": targets[0] if targets else None}
    )


def _doubts(decisions: Sequence[LesionDecision]) -> list[str]:
    """Warnings about the decisions on a kept lesion."""
    keeping = [each for each in decisions if each.decision == "keep"]
    texts = [KEPT_AND_REJECTED] if len(keeping) < len(decisions) else []
    for chosen in ({each.label for each in keeping}, {each.target for each in keeping}):
        if len(chosen - {None}) > 1 and DECIDED_TWICE not in texts:
            texts.append(DECIDED_TWICE)
    return texts

"""From frames to stacks: which of them lie behind one another, in which order, and what is wrong with them.

Order is that of positions along the slices' normal (ImagePositionPatient, ImageOrientationPatient), never that of
file names or instance numbers. DICOM counts in LPS+ millimetres; what leaves here is RAS+.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from metseg.errors import MixedSizes
from metseg.formats.dicom.instances import Frame, Instance, Traits

__all__ = ["Member", "Stack", "stacks"]

Affine = npt.NDArray[np.float64]
Each = TypeVar("Each")

ALIKE = 0.02
"""Directions that differ by less, a degree, are the same plane: scanners round what they write."""
SAME_PLACE_MM = 0.01
UNEVEN = 0.05
GAP = 1.5
ASIDE_MM = 1.0
FEW = 10
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Member(NamedTuple):
    """A frame and the file that it is in."""

    instance: Instance
    frame: Frame


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames of one sequence, behind one another.

    Attributes:
        members: along the normal of their plane.
        affine: from (column, row, frame) to RAS+ millimetres; None where a lone image tells no place.
        spacing_mm: between frames, rows and columns; None where it is not told.
        remarks: sentences on what is wrong with it.
    """

    members: tuple[Member, ...]
    affine: Affine | None
    spacing_mm: tuple[float, float, float] | None
    remarks: tuple[str, ...]

    @property
    def first(self) -> Instance:
        """The file of the first frame, whose traits are those of all."""
        return self.members[0].instance

    @property
    def traits(self) -> Traits:
        """Of the sequence; an enhanced file may hold several echoes."""
        return self.first.traits._replace(echo_ms=self.members[0].frame.echo_ms)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return len(self.members), self.first.rows, self.first.columns


def stacks(instances: Sequence[Instance]) -> tuple[list[Stack], list[str]]:
    """Every stack of a study, and warnings of what was left out.

    Raises:
        MixedSizes: a series of several images tells no positions, or they do not lie behind one another.
    """
    once, warnings = _once(instances)
    found: list[Stack] = []
    localisers = 0
    for series in _grouped(once, lambda each: (each.series, each.rows, each.columns)).values():
        members = [Member(instance, frame) for instance in series for frame in instance.frames]
        planes = list(_planes(members))
        if _is_localiser(planes):
            localisers += 1
            continue
        if len(planes) > 1:
            warnings.append("A series mixes orientations; the slices of each were taken as a sequence of their own.")
        found += [stack for plane in planes for stack in _turns(plane)]
    if localisers:
        warnings.append(f"Localisers were left out, which show single slices in several orientations: {localisers}.")
    return found, warnings


def _once(instances: Sequence[Instance]) -> tuple[list[Instance], list[str]]:
    """Each instance once, however often its file was sent."""
    kept: dict[Hashable, Instance] = {}
    for index, instance in enumerate(instances):
        kept.setdefault(instance.uid or index, instance)
    twice = len(instances) - len(kept)
    return list(kept.values()), [f"Files that were sent twice were read once: {twice}."] if twice else []


def _grouped(items: Iterable[Each], key: Callable[[Each], Hashable]) -> Mapping[Hashable, list[Each]]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _planes(members: Sequence[Member]) -> Iterator[list[Member]]:
    """The members by their orientation; those that tell none are one group."""
    groups: list[tuple[npt.NDArray[np.float64] | None, list[Member]]] = []
    for member in members:
        own = None if member.frame.orientation is None else np.array(member.frame.orientation)
        for orientation, group in groups:
            if (own is None) == (orientation is None) and (
                own is None or orientation is None or np.abs(own - orientation).max() < ALIKE
            ):
                group.append(member)
                break
        else:
            groups.append((own, [member]))
    yield from (group for _, group in groups)


def _is_localiser(planes: Sequence[Sequence[Member]]) -> bool:
    if any("LOCALIZER" in member.instance.traits.image_type for plane in planes for member in plane):
        return True
    return len(planes) > 1 and all(len(plane) < FEW for plane in planes)


def _turns(plane: Sequence[Member]) -> Iterator[Stack]:
    """The stacks of one plane: one, or one for each echo or time where places repeat."""
    if len(plane) > 1 and any(member.frame.position is None for member in plane):
        raise MixedSizes("A DICOM series tells no positions of its slices, so they cannot be ordered; export it again.")
    if _repeated(plane):
        turns = list(_grouped(plane, lambda member: member.frame.turn).values())
        if len(turns) > 1 and not any(map(_repeated, turns)):
            yield from map(_stack, turns)
            return
    yield _stack(plane)


def _repeated(members: Sequence[Member]) -> bool:
    return len(members) > 1 and bool((np.diff(np.sort(_along(members))) < SAME_PLACE_MM).any())


def _along(members: Sequence[Member]) -> npt.NDArray[np.float64]:
    """How far each member lies along the normal of the first, in mm."""
    return _positions(members) @ _normal(members[0].frame)


def _positions(members: Sequence[Member]) -> npt.NDArray[np.float64]:
    return np.array([member.frame.position for member in members], np.float64)


def _normal(frame: Frame) -> npt.NDArray[np.float64]:
    if frame.orientation is None:
        raise MixedSizes(
            "A DICOM series tells no orientation of its slices, so they cannot be ordered; export it again."
        )
    return np.cross(frame.orientation[:3], frame.orientation[3:])


def _stack(members: Sequence[Member]) -> Stack:
    if len(members) == 1:
        return _lone(members[0])
    remarks = []
    along = _along(members)
    numbers = [(member.instance.number, member.frame.number) for member in members]
    order = sorted(range(len(members)), key=lambda index: (along[index], *numbers[index]))
    kept = [order[0]]
    for index in order[1:]:
        if along[index] - along[kept[-1]] >= SAME_PLACE_MM:
            kept.append(index)
    if len(kept) < len(members):
        remarks.append(f"Slices that lie where another of their series does were left out: {len(members) - len(kept)}.")
    ordered = tuple(members[index] for index in kept)
    if len(ordered) == 1:
        return _lone(ordered[0], remarks)
    steps = np.diff(along[kept])
    apart = median(steps.tolist())
    missing = int(np.rint(steps[steps > GAP * apart] / apart - 1).sum())
    if missing:
        remarks.append(
            f"A series has gaps, told by its positions: {missing} slices seem to be missing. Sizes across a gap, and "
            "other series beyond it, are not exact; send the whole series."
        )
    elif np.abs(steps - apart).max() > max(UNEVEN * apart, SAME_PLACE_MM):
        remarks.append("The slices of a series lie at uneven distances; sizes across them are not exact.")
    if not missing:
        apart = float(steps.mean())
    _check_straight(ordered)
    return _placed(ordered, apart, remarks)


def _check_straight(members: Sequence[Member]) -> None:
    """Refuse slices that are shifted against each other within their plane."""
    positions = _positions(members)
    normal = _normal(members[0].frame)
    aside = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    if np.linalg.norm(aside, axis=1).max() > ASIDE_MM:
        raise MixedSizes("The slices of a DICOM series do not lie behind one another; send each stack on its own.")


def _lone(member: Member, remarks: Iterable[str] = ()) -> Stack:
    return _placed((member,), member.frame.thickness_mm or 0.0, list(remarks))


def _placed(members: tuple[Member, ...], apart_mm: float, remarks: list[str]) -> Stack:
    frame = members[0].frame
    if frame.spacing_mm is None or frame.position is None or frame.orientation is None or apart_mm <= 0:
        return Stack(members, None, _spacing(frame, apart_mm), tuple(remarks))
    affine = np.eye(4)
    affine[:3, 0] = np.array(frame.orientation[:3]) * frame.spacing_mm[1]
    affine[:3, 1] = np.array(frame.orientation[3:]) * frame.spacing_mm[0]
    affine[:3, 2] = _normal(frame) * apart_mm
    affine[:3, 3] = frame.position
    return Stack(members, LPS_TO_RAS @ affine, _spacing(frame, apart_mm), tuple(remarks))


def _spacing(frame: Frame, apart_mm: float) -> tuple[float, float, float] | None:
    if frame.spacing_mm is None or apart_mm <= 0:
        return None
    return apart_mm, *frame.spacing_mm

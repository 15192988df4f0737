"""From frames to stacks: groups frames that are parallel and aligned, orders them, and reports their defects.

The order is that of positions along the slices' normal (ImagePositionPatient, ImageOrientationPatient), never that of
file names or instance numbers. DICOM uses LPS+ millimetres; the affines that leave this module are RAS+.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from metseg.errors import MixedSizes
from metseg.formats.dicom.acquisition import Acquisition
from metseg.formats.dicom.duplicates import without_duplicates
from metseg.formats.dicom.evidence import IMAGE_KINDS
from metseg.formats.dicom.instances import Frame, Instance
from metseg.imaging import LPS_TO_RAS, Affine, Float64Array, Shape, Spacing

__all__ = ["Stack", "StackFrame", "group_stacks"]

T = TypeVar("T")

MAX_DIRECTION_DIFFERENCE = 0.02
"""Components of directions that differ by less, about a degree, are of the same plane: scanners round them."""
MIN_DISTANCE_MM = 0.01
"""Frames closer to each other have the same position."""
MAX_UNEVENNESS = 0.05
MIN_GAP = 1.5
"""A share of the median distance between slices, and a multiple of it."""
MAX_SHARED = 0.5
"""A share of the positions of the smaller group; with more, one group repeats the other."""
MAX_SHIFT_MM = 1.0
MIN_SLICES_PER_PLANE = 10
"""A series in several planes, all with fewer slices, is a localiser."""


class StackFrame(NamedTuple):
    """A frame with its file."""

    instance: Instance
    frame: Frame


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames of one sequence, parallel and aligned.

    Attributes:
        members: along the normal of their plane.
        left_out: frames of the same positions that nothing in the headers distinguishes.
        affine: from (column, row, frame) to RAS+ millimetres; None where a single image has no position.
        spacing_mm: between frames, rows and columns; None where unknown.
        warnings: sentences on its defects.
        indices: of each member along the normal; those that no member has are gaps.
    """

    members: tuple[StackFrame, ...]
    left_out: int
    affine: Affine | None
    spacing_mm: Spacing | None
    warnings: tuple[str, ...]
    indices: tuple[int, ...]

    @property
    def first(self) -> Instance:
        """The file of the first frame, which represents all."""
        return self.members[0].instance

    @property
    def acquisition(self) -> Acquisition:
        """Of the sequence; an enhanced file may hold several echoes and kinds of image."""
        frame = self.members[0].frame
        own = self.first.acquisition
        return own._replace(echo_ms=frame.echo_ms, image_type=frame.image_type, b_value=frame.b_value)

    @property
    def shape(self) -> Shape:
        """Frames and gaps, rows, columns."""
        return self.indices[-1] + 1, self.first.rows, self.first.columns


def group_stacks(instances: Sequence[Instance]) -> tuple[list[Stack], list[str]]:
    """Group the frames of a study into stacks.

    Returns:
        The stacks, and warnings of what was left out.

    Raises:
        MixedSizes: a series of several images has no positions, or its images are not aligned.
    """
    unique, warnings = without_duplicates(instances)
    stacks: list[Stack] = []
    localisers = 0
    series_of_files = _group_by(unique, lambda instance: (instance.series, instance.rows, instance.columns)).values()
    for series in _join_scattered(list(series_of_files), warnings):
        members = [StackFrame(instance, frame) for instance in series for frame in instance.frames]
        planes = list(_planes(members))
        if _is_localiser(planes):
            localisers += 1
            continue
        if len(planes) > 1:
            warnings.append("A series mixes orientations; the slices of each were read as a separate sequence.")
        for plane in planes:
            kinds = list(_group_by(plane, lambda member: member.frame.image_type & IMAGE_KINDS).values())
            if len(kinds) > 1:
                warnings.append(
                    "A series mixes kinds of image, such as magnitude and phase; each was read as a separate sequence."
                )
            stacks += [stack for kind in kinds for stack in _split_repetitions(kind)]
    if localisers:
        warnings.append(f"Localisers were left out, which show single slices in several orientations: {localisers}.")
    return stacks, warnings


def _join_scattered(series: Sequence[list[Instance]], warnings: list[str]) -> list[list[Instance]]:
    """Join series that are slices of one, such as where an exporter gave each slice a new SeriesInstanceUID."""
    joined = []
    for group in _group_by(series, _likeness).values():
        together = [instance for each in group for instance in each]
        if len(group) > 1 and _is_scattered(together, len(group)):
            warnings.append(
                f"{len(group)} series have one number, description, orientation and spacing, and complement each "
                "other; they were read as one series."
            )
            joined.append(together)
        else:
            joined += group
    return joined


def _likeness(series: Sequence[Instance]) -> Hashable:
    """Equal for series that may be parts of one."""
    first = series[0]
    frame, acquisition = first.frames[0], first.acquisition
    directions = None if frame.orientation is None else tuple(round(each, 1) + 0.0 for each in frame.orientation)
    spacing = None if frame.spacing_mm is None else tuple(round(each, 2) for each in frame.spacing_mm)
    times = tuple(
        None if each is None else round(each)
        for each in (acquisition.repetition_ms, acquisition.echo_ms, acquisition.inversion_ms)
    )
    words = (acquisition.description, acquisition.protocol, acquisition.agent, acquisition.scanning_sequence)
    place = (first.study, first.patient, first.frame_of_reference, first.file.role, first.rows, first.columns)
    return (*place, first.series_number, directions, spacing, times, words, frame.image_type & IMAGE_KINDS)


def _is_scattered(instances: Sequence[Instance], series: int) -> bool:
    """Whether series complement each other: few of their positions repeat, or each has a single slice."""
    members = [StackFrame(instance, frame) for instance in instances for frame in instance.frames]
    if any(member.frame.position is None or member.frame.orientation is None for member in members):
        return False
    repeated = int(np.count_nonzero(np.diff(np.sort(_positions_along_normal(members))) < MIN_DISTANCE_MM))
    return series == len(members) or repeated <= MAX_SHARED * len(members) / series


def _group_by(items: Iterable[T], key: Callable[[T], Hashable]) -> Mapping[Hashable, list[T]]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _planes(members: Sequence[StackFrame]) -> Iterator[list[StackFrame]]:
    """The members by their orientation; those without one are one group."""
    groups: list[tuple[Float64Array | None, list[StackFrame]]] = []
    for member in members:
        own = None if member.frame.orientation is None else np.array(member.frame.orientation)
        for orientation, group in groups:
            if (own is None) == (orientation is None) and (
                own is None or orientation is None or np.abs(own - orientation).max() < MAX_DIRECTION_DIFFERENCE
            ):
                group.append(member)
                break
        else:
            groups.append((own, [member]))
    yield from (group for _, group in groups)


def _is_localiser(planes: Sequence[Sequence[StackFrame]]) -> bool:
    if any("LOCALIZER" in member.instance.acquisition.image_type for plane in planes for member in plane):
        return True
    return len(planes) > 1 and all(len(plane) < MIN_SLICES_PER_PLANE for plane in planes)


def _split_repetitions(plane: Sequence[StackFrame]) -> Iterator[Stack]:
    """The stacks of one plane: one, or one for each echo or time where positions repeat."""
    if len(plane) > 1 and any(member.frame.position is None for member in plane):
        raise MixedSizes("A DICOM series has no positions of its slices, so they cannot be ordered; export it again.")
    if _has_repetitions(plane):
        repetitions = list(_group_by(plane, lambda member: member.frame.repetition).values())
        if _are_repeated(repetitions) and not any(map(_has_repetitions, repetitions)):
            yield from map(_order_stack, repetitions)
            return
    yield _order_stack(plane)


def _are_repeated(groups: Sequence[Sequence[StackFrame]]) -> bool:
    """Whether groups show the same positions, rather than parts of one stack that share a few."""
    places = [{round(float(each) / MIN_DISTANCE_MM / 10) for each in _offsets(group, groups[0][0])} for group in groups]
    return any(
        len(one & other) > MAX_SHARED * min(len(one), len(other))
        for index, one in enumerate(places)
        for other in places[:index]
    )


def _offsets(members: Sequence[StackFrame], origin: StackFrame) -> Float64Array:
    """The position of each member along the normal of `origin`, in mm."""
    return _positions(members) @ _normal(origin.frame)


def _has_repetitions(members: Sequence[StackFrame]) -> bool:
    return len(members) > 1 and bool((np.diff(np.sort(_positions_along_normal(members))) < MIN_DISTANCE_MM).any())


def _positions_along_normal(members: Sequence[StackFrame]) -> Float64Array:
    """The position of each member along the normal of the first, in mm."""
    return _offsets(members, members[0])


def _positions(members: Sequence[StackFrame]) -> Float64Array:
    return np.array([member.frame.position for member in members], np.float64)


def _normal(frame: Frame) -> Float64Array:
    if frame.orientation is None:
        raise MixedSizes("A DICOM series has no orientation of its slices, so they cannot be ordered; export it again.")
    return np.cross(frame.orientation[:3], frame.orientation[3:])


def _order_stack(members: Sequence[StackFrame]) -> Stack:
    if len(members) == 1:
        return _single_frame(members[0])
    warnings = []
    offsets = _positions_along_normal(members)
    numbers = [(member.instance.number, member.frame.number) for member in members]
    order = sorted(range(len(members)), key=lambda index: (offsets[index], *numbers[index]))
    kept = [order[0]]
    for index in order[1:]:
        if offsets[index] - offsets[kept[-1]] >= MIN_DISTANCE_MM:
            kept.append(index)
    left_out = len(members) - len(kept)
    if left_out:
        warnings.append(f"Slices at the same position as another of their series were left out: {left_out}.")
    ordered = tuple(members[index] for index in kept)
    if len(ordered) == 1:
        return _single_frame(ordered[0], left_out, warnings)
    steps = np.diff(offsets[kept])
    distance = median(steps.tolist())
    missing = int(np.rint(steps[steps > MIN_GAP * distance] / distance - 1).sum())
    indices = tuple(range(len(ordered)))
    if missing:
        counts = np.rint(steps / distance).astype(int)
        if counts.min() < 1:
            raise MixedSizes("The slices of a DICOM series have uneven distances, with gaps; send the whole series.")
        indices = (0, *np.cumsum(counts).tolist())
        distance = float(offsets[kept[-1]] - offsets[kept[0]]) / indices[-1]
        warnings.append(
            f"The positions of a series have gaps: {missing} slices seem to be missing, which are empty in the result. "
            "Lesions across a gap are not exact; send the whole series."
        )
    elif np.abs(steps - distance).max() > max(MAX_UNEVENNESS * distance, MIN_DISTANCE_MM):
        warnings.append("The slices of a series have uneven distances; sizes across them are not exact.")
    if not missing:
        distance = float(steps.mean())
    _check_aligned(ordered)
    return replace(_with_affine(ordered, left_out, distance, warnings), indices=indices)


def _check_aligned(members: Sequence[StackFrame]) -> None:
    """Refuse slices that are shifted against each other within their plane."""
    positions = _positions(members)
    normal = _normal(members[0].frame)
    shifts = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    if np.linalg.norm(shifts, axis=1).max() > MAX_SHIFT_MM:
        raise MixedSizes("The slices of a DICOM series do not form one stack; send each stack separately.")


def _single_frame(member: StackFrame, left_out: int = 0, warnings: Iterable[str] = ()) -> Stack:
    return _with_affine((member,), left_out, member.frame.thickness_mm or 0.0, list(warnings))


def _with_affine(members: tuple[StackFrame, ...], left_out: int, distance_mm: float, warnings: list[str]) -> Stack:
    frame, indices = members[0].frame, tuple(range(len(members)))
    if frame.spacing_mm is None or frame.position is None or frame.orientation is None or distance_mm <= 0:
        return Stack(members, left_out, None, _spacing(frame, distance_mm), tuple(warnings), indices)
    affine = np.eye(4)
    affine[:3, 0] = np.array(frame.orientation[:3]) * frame.spacing_mm[1]
    affine[:3, 1] = np.array(frame.orientation[3:]) * frame.spacing_mm[0]
    affine[:3, 2] = _normal(frame) * distance_mm
    affine[:3, 3] = frame.position
    return Stack(members, left_out, LPS_TO_RAS @ affine, _spacing(frame, distance_mm), tuple(warnings), indices)


def _spacing(frame: Frame, distance_mm: float) -> Spacing | None:
    if frame.spacing_mm is None or distance_mm <= 0:
        return None
    return distance_mm, *frame.spacing_mm

"""Whether the chosen series are whole: what is left out of one, or of the head that another shows, is reported."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metseg.contracts import Role
from metseg.errors import IncompleteSeries
from metseg.formats.dicom.stacks import Stack
from metseg.imaging import LPS_TO_RAS, SEQUENCE_NAMES, Affine, Float64Array

__all__ = ["check_coverage", "check_repetitions", "check_whole"]

MAX_LEFT_OUT = 0.1
"""A share of a series, or of the extent of another; if more is missing, there is a warning."""
MAX_MISSING = 0.5
"""With more missing, a series is refused."""
MAX_MISSING_ACROSS = 0.75
"""The same where another series is in another plane, whose field of view reaches from the neck to beyond the vertex."""
SAME_POSITION = 0.6
"""A share of the distance between slices."""
PARALLEL = 0.9
"""The cosine between normals."""


def check_repetitions(stack: Stack) -> None:
    """Refuse a stack where nothing distinguishes many images at the same positions.

    Raises:
        IncompleteSeries: more than a tenth would be left out.
    """
    total = len(stack.members) + stack.left_out
    allowed = 1 if len(stack.members) > 2 else 0  # parts of a series may share a position
    if stack.left_out > max(MAX_LEFT_OUT * total, allowed):
        raise IncompleteSeries(
            f"In series {stack.first.series_number}, {stack.left_out} of {total} images are at the same position as "
            "another, and nothing in the headers distinguishes them. Send the images of one acquisition only."
        )


def check_whole(chosen: Stack, stacks: Sequence[Stack]) -> Iterator[str]:
    """Compare a stack with others that seem to be parts of the same series.

    Args:
        chosen: the stack.
        stacks: all of the study or the field.

    Yields:
        A warning if more than a tenth of the slices is left out.

    Raises:
        IncompleteSeries: more than half of them would be.
    """
    outside = sum(_outside(other, chosen) for other in stacks if other is not chosen and _is_part(other, chosen))
    total = len(chosen.members) + outside
    if outside > MAX_MISSING * total:
        raise IncompleteSeries(
            f"Only {len(chosen.members)} of {total} slices that seem to belong to series "
            f"{chosen.first.series_number} could be put together. Export it as one series."
        )
    if outside > MAX_LEFT_OUT * total:
        yield (
            f"Of {total} slices that seem to belong to series {chosen.first.series_number}, {outside} were left out: "
            "they have another identifier or kind of image. Lesions in them are not in the result."
        )


def check_coverage(stacks: Mapping[Role | None, Stack], reference: Role | None, *, by_field: bool) -> Iterator[str]:
    """Compare how much of the head the series show.

    Args:
        stacks: by role.
        reference: the role whose grid the result has.
        by_field: whether the sender chose the series, which are then not refused.

    Yields:
        A warning for each series that lacks more than a tenth of what another shows.

    Raises:
        IncompleteSeries: one lacks more than half.
    """
    for role, stack in stacks.items():
        for other_role, other in stacks.items():
            if role is None or other_role is None or stack.affine is None or other.affine is None or stack is other:
                continue
            is_parallel = abs(float(_normal(stack.affine) @ _normal(other.affine))) > PARALLEL
            missing = _missing(stack, other)
            if not is_parallel and (role != reference or missing <= MAX_MISSING_ACROSS):
                continue
            if missing > (MAX_MISSING if is_parallel else MAX_MISSING_ACROSS) and not by_field:
                raise IncompleteSeries(
                    f"The {SEQUENCE_NAMES[role]} series ({len(stack.members)} slices) lacks {missing:.0%} of what the "
                    f"{SEQUENCE_NAMES[other_role]} series shows. Send the whole series, or each in its field: pre, "
                    "flair or post."
                )
            if missing > MAX_LEFT_OUT:
                yield (
                    f"The {SEQUENCE_NAMES[role]} series lacks {missing:.0%} of what the {SEQUENCE_NAMES[other_role]} "
                    "series shows along its slices; lesions there may not be in the result."
                )


def _is_part(other: Stack, chosen: Stack) -> bool:
    """Whether a stack is of the same series as another, by its identifier or by all else, and in the same plane."""
    if chosen.affine is None or other.affine is None:
        return False
    if abs(float(_normal(chosen.affine) @ _normal(other.affine))) <= PARALLEL:
        return False
    if other.first.series == chosen.first.series:
        return True
    one, two = chosen.acquisition, other.acquisition
    is_named_alike = other.first.series_number == chosen.first.series_number or one.description == two.description
    return is_named_alike and one._replace(description="") == two._replace(description="")


def _outside(other: Stack, chosen: Stack) -> int:
    """The number of positions of a stack where another has no slice."""
    normal = _normal(np.asarray(chosen.affine))
    ours, theirs = (_positions(stack) @ normal for stack in (chosen, other))
    distance_mm = 1.0 if chosen.spacing_mm is None else chosen.spacing_mm[0]
    if other.first.series == chosen.first.series:  # slices in turns, so that the distance within each is too large
        steps = np.diff(np.unique(np.round([*ours, *theirs], 1)))
        distance_mm = min([distance_mm, *steps])
    return int(np.count_nonzero(np.abs(theirs[:, None] - ours).min(axis=1) > SAME_POSITION * distance_mm))


def _positions(stack: Stack) -> Float64Array:
    """The position of each slice in RAS+ millimetres, by its header, since an affine has no gaps."""
    positions = [member.frame.position for member in stack.members if member.frame.position is not None]
    own: Float64Array = np.array(positions, np.float64) * LPS_TO_RAS.diagonal()[:3]
    return own


def _missing(stack: Stack, other: Stack) -> float:
    """The share of another's extent along the normal of a stack that the stack does not cover."""
    if stack.affine is None or other.affine is None:
        return 0.0
    low, high = _extent(stack, _normal(stack.affine))
    other_low, other_high = _extent(other, _normal(stack.affine))
    covered = max(0.0, min(high, other_high) - max(low, other_low))
    return 1.0 - covered / (other_high - other_low)


def _extent(stack: Stack, normal: Float64Array) -> tuple[float, float]:
    """The first and the last position of a stack's voxels along a direction, in mm."""
    affine = np.asarray(stack.affine)
    frames, rows, columns = stack.shape
    corners = [
        (column, row, frame, 1)
        for column in (-0.5, columns - 0.5)
        for row in (-0.5, rows - 0.5)
        for frame in (-0.5, frames - 0.5)
    ]
    along = (np.array(corners) @ affine.T)[:, :3] @ normal
    return float(along.min()), float(along.max())


def _normal(affine: Affine) -> Float64Array:
    normal: Float64Array = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    return normal

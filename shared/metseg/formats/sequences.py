"""From the sequences of a study of volumes to one Volume: three channels on one grid.

The FLAIR is the reference, or else the post-contrast volume, or else the pre-contrast one. The others are resampled
onto its grid, after a rigid registration if asked for. A volume on the same grid is not changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from metseg.contracts import Align, Alignment, Grid, IdentifiedBy, IdentifiedSequence, Role
from metseg.errors import MixedSizes, UnusableImage
from metseg.formats.limits import check_sides, check_slice_pixels, check_stack
from metseg.imaging import (
    CHANNELS,
    MISSING_SEQUENCE,
    ROLES,
    SEQUENCE_NAMES,
    Affine,
    Array,
    Present,
    Shape,
    Spacing,
    SpatialImage,
    StudySize,
    Volume,
    describe_registration,
    register,
    same_grid,
    skew_degrees,
    slice_plane,
)
from metseg.settings import Limits

__all__ = [
    "GREY_WARNING",
    "REFERENCE_ORDER",
    "UNUSED_CHOICE",
    "Layout",
    "NegativeVoxels",
    "SequenceImage",
    "VolumeGeometry",
    "allocate",
    "assemble_volume",
    "check_geometry",
    "check_volume_size",
    "missing_sequence_warning",
    "reference_role",
    "study_size",
]

REFERENCE_ORDER: tuple[Role, ...] = ("flair", "post", "pre")
GREY_WARNING = (
    f"The upload is grey: it has one sequence instead of all three ({', '.join(CHANNELS)}), so the result may be less "
    "exact."
)
UNUSED_CHOICE = (
    "The sequence that was given was not used: it is for a study of one grey image, and this one has several."
)
VOXEL_MM = (0.02, 100.0)
FIELD_MM = (16.0, 1000.0)
"""Bounds of a voxel's side and of a slice's side that shows a head; beyond them the header must be wrong."""
SKEW_DEGREES = 1.0
"""Less is rounding by 32-bit headers and tools, and changes no length by more than a hundredth."""
MAX_SKEW_DEGREES = 5.0
"""More, within slices, changes lengths by more than a twentieth, and the shape of the head in the model's input."""


class NegativeVoxels(Exception):
    """A study was to be read as whole numbers from 0 on, as nearly all with a sign are, and has others."""


@dataclass(frozen=True)
class VolumeGeometry:
    """The grid of a volume in canonical order.

    Attributes:
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; None where unknown.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.
        grid: how to restore the file's order.
    """

    shape: Shape
    spacing_mm: Spacing | None
    affine: Affine | None
    grid: Grid

    def matches(self, other: "VolumeGeometry") -> bool:
        """Whether voxels of equal indices have the same position, as far as is known."""
        if self.shape != other.shape:
            return False
        if self.affine is None or other.affine is None:
            return True
        return same_grid(self.affine, other.affine, self.shape)


@dataclass(frozen=True, eq=False)
class SequenceImage:
    """One sequence of a study.

    Attributes:
        pixels: uint8, uint16 or float32, (slice, row, column).
        geometry: of these voxels.
        description: what it is and how its role was found, without identifiers.
        identified_by: what decided its role; None where it has none.
    """

    pixels: Array
    geometry: VolumeGeometry
    description: str
    identified_by: IdentifiedBy | None


Layout = Mapping[Role | None, tuple[VolumeGeometry, "np.dtype[Any]"]]
"""Geometry and type of the values of each sequence of a study, by role, or of a single one by None."""


def reference_role(roles: Sequence[Role | None]) -> Role | None:
    """The role of the reference sequence: the one whose grid the study has."""
    return next(role for role in (None, *REFERENCE_ORDER) if role in roles)


def missing_sequence_warning(role: Role) -> str:
    """The warning that a sequence is missing.

    Args:
        role: of the missing sequence.

    Returns:
        One sentence.
    """
    return f"No series is known to be {SEQUENCE_NAMES[role]}; the study is read without it."


def study_size(layout: Layout) -> StudySize:
    """What decides how much memory a study of volumes takes.

    Args:
        layout: of the study.

    Returns:
        Its size.
    """
    reference, _ = layout[reference_role(list(layout))]
    geometries, dtypes = zip(*layout.values(), strict=True)
    is_copied = len(geometries) > 1 and not _fit_in_place(geometries, dtypes)
    return StudySize(
        reference.shape,
        max(dtype.itemsize for dtype in dtypes),
        decoded=len(geometries) if is_copied else 0,
        channels=1 if len(geometries) == 1 else len(ROLES),
        spacing_mm=reference.spacing_mm,
        resampled=not all(each.matches(reference) for each in geometries),
    )


class Places(NamedTuple):
    """Arrays to read the sequences of a study into.

    Attributes:
        by_role: (slice, row, column) for each sequence, not filled.
        channels: (slice, row, column, channel), of which they are parts, so that none is copied; None for a single
            sequence, which needs no copy, and where one must be resampled or converted.
    """

    by_role: dict[Role | None, Array]
    channels: Array | None


def allocate(layout: Layout) -> Places:
    """A place for each sequence.

    Args:
        layout: of the study.

    Returns:
        The places.
    """
    geometries, dtypes = zip(*layout.values(), strict=True)
    if len(layout) == 1 or not _fit_in_place(geometries, dtypes):
        return Places({role: np.empty(geometry.shape, dtype) for role, (geometry, dtype) in layout.items()}, None)
    channels = np.empty((*geometries[0].shape, len(ROLES)), dtypes[0])
    return Places({role: channels[..., ROLES.index(role)] for role in cast(Iterable[Role], layout)}, channels)


def _fit_in_place(geometries: Sequence[VolumeGeometry], dtypes: Sequence["np.dtype[Any]"]) -> bool:
    return len(set(dtypes)) == 1 and all(each.matches(geometries[0]) for each in geometries)


def check_volume_size(shape: Shape, limits: Limits) -> None:
    """Refuse a volume that is too large, or too small for a head, by its header.

    Args:
        shape: slices, rows, columns.
        limits: of one submission.

    Raises:
        ImageTooLarge: a slice or the volume has more pixels than allowed.
        TooManyFiles: it has more slices than allowed.
        UnusableImage: a slice is too small.
    """
    _, rows, columns = shape
    check_slice_pixels(rows, columns, limits)
    check_stack(shape, limits)
    check_sides(rows, columns)


def check_geometry(geometry: VolumeGeometry) -> None:
    """Refuse sizes in millimetres that no head has, since everything is scaled by them, and sheared slices.

    Raises:
        UnusableImage: voxels or slices are far too small or too large, or rows and columns are not at right angles.
    """
    if geometry.affine is not None and (skew := skew_degrees(geometry.affine)[0]) > MAX_SKEW_DEGREES:
        raise UnusableImage(
            f"By the header, rows and columns are {skew:.0f} degrees off a right angle, so nothing can be measured; "
            "resample the volume onto a grid with right angles."
        )
    if geometry.spacing_mm is None:
        return
    low, high = VOXEL_MM
    sides = [size * count for size, count in zip(geometry.spacing_mm[1:], geometry.shape[1:], strict=True)]
    if not all(low <= size <= high for size in geometry.spacing_mm) or not all(
        FIELD_MM[0] <= side <= FIELD_MM[1] for side in sides
    ):
        sizes = " x ".join(f"{size:.3g}" for size in geometry.spacing_mm)
        raise UnusableImage(
            f"The header gives voxels of {sizes} mm, which are impossible for a head; correct its spacing."
        )


def assemble_volume(
    images: Mapping[Role | None, SequenceImage],
    names: Sequence[str],
    source: str,
    *,
    warnings: Sequence[str] = (),
    align: Align = "rigid",
    threads: int = 1,
    channels: Array | None = None,
) -> Volume:
    """Combine the sequences of a study.

    Args:
        images: by role; or a single one, by None, whose role is unknown.
        names: one unique stem per slice of the reference sequence.
        source: as in `Volume`.
        warnings: from reading them.
        align: `rigid` registers a sequence on another grid than the reference, `none` trusts the headers.
        threads: for resampling.
        channels: (slice, row, column, channel), if the images, all on one grid, are parts of it already.

    Returns:
        The study on the grid of the reference sequence.

    Raises:
        MixedSizes: sequences of different sizes, one of which has no position in the patient.
        UnusableImage: as in `Volume`; or a sequence does not overlap the reference.
    """
    role_of_reference = reference_role(list(images))
    reference = images[role_of_reference]
    by_channel: dict[Role, Array] = dict.fromkeys(ROLES, reference.pixels)
    alignments: list[Alignment] = []
    more_warnings = [GREY_WARNING]
    if role_of_reference is not None:
        by_role = cast(Mapping[Role, SequenceImage], images)
        by_channel, alignments, more_warnings = _register_sequences(by_role, role_of_reference, align, threads)
    return Volume(
        _stack([by_channel[role] for role in ROLES]) if channels is None else _complete(channels, by_channel, images),
        tuple(names),
        spacing_mm=reference.geometry.spacing_mm,
        affine=reference.geometry.affine,
        source=source,
        warnings=tuple(dict.fromkeys([*warnings, *more_warnings, *_geometry_warnings(reference.geometry)])),
        sequences={role: _origin(role, images, role_of_reference) for role in ROLES},
        alignment=tuple(alignments),
        grid=reference.geometry.grid,
        identified=_identified(images),
        present=_present([role_of_reference] if role_of_reference is None else list(images)),
    )


def _present(roles: Sequence[Role | None]) -> Present:
    """Which sequences a study has; a single one of unknown role is taken for FLAIR."""
    pre, flair, post = (role in roles for role in ROLES)
    return pre, flair or roles == [None], post


def _identified(images: Mapping[Role | None, SequenceImage]) -> dict[Role, IdentifiedSequence]:
    """What decided the role of each image that has one."""
    found = {role: images[role].identified_by for role in ROLES if role in images}
    return {role: IdentifiedSequence(by=by) for role, by in found.items() if by is not None}


def _origin(role: Role, images: Mapping[Role | None, SequenceImage], role_of_reference: Role | None) -> str:
    """What a channel was made from."""
    if role not in images and role_of_reference is not None:
        return MISSING_SEQUENCE
    return images[role if role in images else None].description


def _register_sequences(
    images: Mapping[Role, SequenceImage], reference: Role, align: Align, threads: int
) -> tuple[dict[Role, Array], list[Alignment], list[str]]:
    """The channels on the reference's grid, how far each was moved, and warnings."""
    channels: dict[Role, Array] = {}
    alignments, warnings = [], []
    for role, name in SEQUENCE_NAMES.items():
        if role not in images:
            channels[role] = images[reference].pixels
            warnings.append(missing_sequence_warning(role))
        elif images[role].geometry.matches(images[reference].geometry):
            channels[role] = images[role].pixels
        else:
            fixed, moving = _spatial_image(images[reference]), _spatial_image(images[role])
            registered = register(fixed, moving, align, threads)
            channels[role] = registered.pixels
            warnings += describe_registration(registered, name, SEQUENCE_NAMES[reference], align)
            alignments += [] if registered.motion is None else [registered.motion.to_alignment(role)]
    return channels, alignments, warnings


def _spatial_image(image: SequenceImage) -> SpatialImage:
    if image.geometry.affine is None:
        raise MixedSizes(
            "The volumes differ in size and one has no position in the patient; send volumes of one size, or with "
            "their orientation."
        )
    return SpatialImage(image.pixels, image.geometry.affine)


def _geometry_warnings(geometry: VolumeGeometry) -> list[str]:
    """Warnings about the orientation of the slices."""
    if geometry.affine is None:
        return []
    warnings = []
    if (plane := slice_plane(geometry.affine)) != "axial":
        warnings.append(
            f"The slices are {plane}; the model was trained on axial ones, so the result may be less exact."
        )
    within, across = skew_degrees(geometry.affine)
    if within > SKEW_DEGREES:
        warnings.append(f"Rows and columns are {within:.1f} degrees off a right angle, so lengths are less exact.")
    if across > SKEW_DEGREES:
        warnings.append(
            "The volume is sheared: its slices are shifted against each other; the distance between them is measured "
            "at right angles to them."
        )
    return warnings


def _complete(channels: Array, by_channel: Mapping[Role, Array], images: Mapping[Role | None, SequenceImage]) -> Array:
    """The channels with copies in the places of missing sequences."""
    for index, role in enumerate(ROLES):
        if role not in images:
            channels[..., index] = by_channel[role]
    return channels


def _stack(channels: Sequence[Array]) -> Array:
    """The channels as one array; if they are all the same one, a view of it."""
    if all(channel is channels[0] for channel in channels):
        return np.broadcast_to(channels[0][..., np.newaxis], (*channels[0].shape, len(channels)))
    dtype = np.result_type(*(channel.dtype for channel in channels))
    stacked = np.empty((*channels[0].shape, len(channels)), dtype)
    for index, channel in enumerate(channels):
        stacked[..., index] = channel
    return stacked

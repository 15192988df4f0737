"""From the sequences of a study of volumes to one Volume: three channels on one grid.

The FLAIR is the base; where there is none the post-contrast volume is, or the pre-contrast one. The others are
resampled onto its grid, after a rigid registration if that is asked for. What lies on the same grid is not touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from metseg.contracts import Align, Alignment, Grid, Role
from metseg.errors import MixedSizes, UnusableImage
from metseg.formats.limits import check_sides, check_slice_pixels, check_stack
from metseg.formats.raster.decoders import Pixels
from metseg.imaging import (
    CHANNELS,
    ROLES,
    SEQUENCE_NAMES,
    Affine,
    SpatialImage,
    Volume,
    describe_registration,
    register,
    same_grid,
    skew_degrees,
    slice_plane,
)
from metseg.settings import Limits

__all__ = [
    "GREY",
    "STAND_INS",
    "Place",
    "Scan",
    "assemble",
    "base_of",
    "check_place",
    "check_size",
    "stand_in",
]

STAND_INS: tuple[Role, ...] = ("flair", "post", "pre")
GREY = (
    f"The upload is grey: its one sequence was used for all three channels ({', '.join(CHANNELS)}), "
    "so the result may be less exact than with all of them."
)
VOXEL_MM = (0.02, 100.0)
FIELD_MM = (16.0, 1000.0)
"""No head is smaller or larger than a slice of such sides, and no head's voxels are: the header must be wrong."""
SKEW_DEGREES = 1.0
"""Headers keep 32 bits, and tools round: less is no shear, and changes no length by more than a hundredth."""
MOST_SKEW_DEGREES = 5.0
"""Within slices more changes lengths by more than a twentieth, and the shape of the head that the model sees."""


@dataclass(frozen=True)
class Place:
    """Where a volume lies, in our order.

    Attributes:
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; None where it is not known.
        affine: from (column, row, slice) to RAS+ millimetres; None where it is not known.
        grid: the way back to the file's order.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    affine: Affine | None
    grid: Grid

    def same_as(self, other: "Place") -> bool:
        """Whether voxels of equal indices lie on each other, as far as anything tells."""
        if self.shape != other.shape:
            return False
        if self.affine is None or other.affine is None:
            return True
        return same_grid(self.affine, other.affine, self.shape)


@dataclass(frozen=True, eq=False)
class Scan:
    """One sequence of a study.

    Attributes:
        pixels: uint8, uint16 or float32, (slice, row, column).
        place: of these voxels.
        words: what it is and by what it was told, without identifiers.
    """

    pixels: Pixels
    place: Place
    words: str


def base_of(roles: Sequence[Role | None]) -> Role | None:
    """Which of these the study lies on."""
    return next(role for role in (None, *STAND_INS) if role in roles)


def stand_in(role: Role, base: Role) -> str:
    """The warning that a sequence is missing."""
    return (
        f"No {SEQUENCE_NAMES[role]} series was uploaded; a copy of the {SEQUENCE_NAMES[base]} series stands in for it."
    )


def check_size(shape: tuple[int, int, int], limits: Limits) -> None:
    """Refuse a volume that is too large, or too small for a head, by its header.

    Raises:
        ImageTooLarge: a slice or the volume has more pixels than allowed.
        TooManyFiles: it has more slices than allowed.
        UnusableImage: a slice is too small.
    """
    _, rows, columns = shape
    check_slice_pixels(rows, columns, limits)
    check_stack(shape, limits)
    check_sides(rows, columns)


def check_place(place: Place) -> None:
    """Refuse sizes in millimetres that no head has, since everything is scaled by them, and slices that are sheared.

    Raises:
        UnusableImage: voxels or slices are far too small or too large, or rows and columns at no right angle.
    """
    if place.affine is not None and (skew := skew_degrees(place.affine)[0]) > MOST_SKEW_DEGREES:
        raise UnusableImage(
            f"The header tells slices whose rows and columns are {skew:.0f} degrees off a right angle, in which "
            "nothing can be measured; resample the volume onto a grid of right angles."
        )
    if place.spacing_mm is None:
        return
    low, high = VOXEL_MM
    sides = [size * count for size, count in zip(place.spacing_mm[1:], place.shape[1:], strict=True)]
    if not all(low <= size <= high for size in place.spacing_mm) or not all(
        FIELD_MM[0] <= side <= FIELD_MM[1] for side in sides
    ):
        sizes = " x ".join(f"{size:.3g}" for size in place.spacing_mm)
        raise UnusableImage(
            f"The header tells voxels of {sizes} mm, which do not add up to a head; correct its spacing."
        )


def assemble(
    scans: Mapping[Role | None, Scan],
    names: Sequence[str],
    source: str,
    *,
    warnings: Sequence[str] = (),
    align: Align = "rigid",
    threads: int = 1,
) -> Volume:
    """One study of the sequences that there are.

    Args:
        scans: by role; or only one, by None, whose sequence is not known.
        names: one unique stem a slice of the base.
        source: as of `Volume`.
        warnings: of how they were read.
        align: `rigid` registers what lies on another grid than the base, `none` trusts the headers.
        threads: for the registration.

    Raises:
        MixedSizes: sequences of different sizes, of which one tells no place in the patient.
        UnusableImage: as of `Volume`; or a sequence does not meet the base anywhere.
    """
    base_role = base_of(list(scans))
    base = scans[base_role]
    channels: dict[Role, Pixels] = dict.fromkeys(ROLES, base.pixels)
    moved: list[Alignment] = []
    remarks = [GREY]
    if base_role is not None:
        channels, moved, remarks = _by_role(cast(Mapping[Role, Scan], scans), base_role, align, threads)
    return Volume(
        _stack([channels[role] for role in ROLES]),
        tuple(names),
        spacing_mm=base.place.spacing_mm,
        affine=base.place.affine,
        source=source,
        warnings=tuple(dict.fromkeys([*warnings, *remarks, *_unusual(base.place)])),
        sequences={role: scans[base_role if role not in scans else role].words for role in ROLES},
        alignment=tuple(moved),
        grid=base.place.grid,
    )


def _by_role(
    scans: Mapping[Role, Scan], base: Role, align: Align, threads: int
) -> tuple[dict[Role, Pixels], list[Alignment], list[str]]:
    """The channels on the base's grid, what was moved, and warnings."""
    channels: dict[Role, Pixels] = {}
    moved, remarks = [], []
    for role, name in SEQUENCE_NAMES.items():
        if role not in scans:
            channels[role] = scans[base].pixels
            remarks.append(stand_in(role, base))
        elif scans[role].place.same_as(scans[base].place):
            channels[role] = scans[role].pixels
        else:
            there = register(_spatial_image(scans[base]), _spatial_image(scans[role]), align, threads)
            channels[role] = there.pixels
            remarks += describe_registration(there, name, SEQUENCE_NAMES[base], align)
            moved += [] if there.motion is None else [there.motion.to_alignment(role)]
    return channels, moved, remarks


def _spatial_image(scan: Scan) -> SpatialImage:
    if scan.place.affine is None:
        raise MixedSizes(
            "The volumes differ in size and one tells no place in the patient; send volumes of one size, or with "
            "their orientation."
        )
    return SpatialImage(scan.pixels, scan.place.affine)


def _unusual(place: Place) -> list[str]:
    """What the reader should know of how the slices lie."""
    if place.affine is None:
        return []
    told = []
    if (seen := slice_plane(place.affine)) != "axial":
        told.append(f"The slices are {seen}; the model has learned from axial ones, so the result may be less exact.")
    within, across = skew_degrees(place.affine)
    if within > SKEW_DEGREES:
        told.append(f"Rows and columns are {within:.1f} degrees off a right angle, so lengths are less exact.")
    if across > SKEW_DEGREES:
        told.append(
            "The volume is sheared: its slices lie shifted against each other; the distance between them is measured "
            "at right angles to them."
        )
    return told


def _stack(channels: Sequence[Pixels]) -> Pixels:
    depth = np.result_type(*(channel.dtype for channel in channels))
    stacked = np.empty((*channels[0].shape, len(channels)), depth)
    for index, channel in enumerate(channels):
        stacked[..., index] = channel
    return stacked

"""Registration of one sequence of a visit to another, and resampling onto its grid, by SimpleITK.

Sequences of one visit share the scanner's coordinates, but a head moves between them; see `rigid_motion`. SimpleITK is
imported where it is used, since reading headers does not need it.
"""

from dataclasses import dataclass

import numpy as np

from metseg.contracts import Align
from metseg.errors import UnusableImage
from metseg.imaging.arrays import Affine, Array, Shape
from metseg.imaging.rigid_motion import (
    ItkImage,
    ItkTransform,
    RigidMotion,
    SpatialImage,
    find_motion,
    simple_itk,
    to_itk,
)

__all__ = ["RegisteredImage", "describe_registration", "register", "same_grid"]

MAX_CORNER_DISTANCE_MM = 0.05
"""Corners no further apart are the same: headers keep 32 bits, and rotations as quaternions."""
MIN_COVERAGE = 0.05
FULL_COVERAGE = 0.95


@dataclass(frozen=True, eq=False)
class RegisteredImage:
    """The moving image on the fixed image's grid.

    Attributes:
        pixels: float32, (slice, row, column) of the fixed image; its minimum where the moving image does not reach.
        motion: None where it was not registered, or could not be.
        coverage: the share of the fixed image that the moving image covers.
    """

    pixels: Array
    motion: RigidMotion | None
    coverage: float


def same_grid(one: Affine, other: Affine, shape: Shape) -> bool:
    """Whether two affines map the corners of a volume to the same points.

    Args:
        one: the first affine.
        other: the second.
        shape: of the volume: slices, rows, columns.

    Returns:
        Whether no corner moves by more than 0.05 mm.
    """
    slices, rows, columns = shape
    corners = np.array(
        [(column, row, slice_, 1) for column in (0, columns - 1) for row in (0, rows - 1) for slice_ in (0, slices - 1)]
    )
    apart = corners @ (one - other).T[:, :3]
    return bool(np.linalg.norm(apart, axis=1).max() <= MAX_CORNER_DISTANCE_MM)


def register(fixed: SpatialImage, moving: SpatialImage, align: Align, threads: int) -> RegisteredImage:
    """Resample an image onto the grid of another by linear interpolation, after a rigid registration if asked for.

    Args:
        fixed: the image whose grid the result has.
        moving: the image to resample, of the same patient.
        align: `rigid` registers the two first, `none` trusts their affines.
        threads: for resampling; the registration has one.

    Returns:
        The moving image on the fixed image's grid.

    Raises:
        UnusableImage: the two images hardly overlap.
    """
    fixed_itk, moving_itk = to_itk(fixed), to_itk(moving)
    transform, motion = find_motion(fixed_itk, moving_itk, threads) if align == "rigid" else (None, None)
    pixels = _resample(moving_itk, fixed_itk, transform, float(moving.pixels.min()), threads)
    inside = _resample(_ones(moving_itk), fixed_itk, transform, 0, threads)
    coverage = float((inside > 0).mean())
    if coverage < MIN_COVERAGE:
        raise UnusableImage("The volumes of the study do not overlap; send volumes of one visit.")
    return RegisteredImage(pixels, motion, coverage)


def describe_registration(registered: RegisteredImage, name: str, fixed_name: str, align: Align) -> list[str]:
    """Describe the registration of a sequence, for the reader of the result.

    Args:
        registered: the sequence on the other's grid.
        name: of the sequence.
        fixed_name: of the sequence whose grid it was resampled onto.
        align: as given to `register`.

    Returns:
        One or two sentences.
    """
    motion = registered.motion
    start = f"The {name} volume is on another grid than the {fixed_name} one and was resampled onto it"
    if motion is not None:
        moved = f"moved it by {motion.translation_mm:.1f} mm and rotated it by {motion.rotation_degrees:.1f} degrees"
        sentences = [f"{start}, after a registration that {moved}."]
    elif align == "rigid":
        sentences = [f"{start} where its header puts it: it could not be registered, so compare their outlines."]
    else:
        sentences = [f"{start} where its header puts it, without registration, as requested."]
    if registered.coverage < FULL_COVERAGE:
        share = f"{registered.coverage:.0%}"
        sentences.append(f"The {name} volume covers {share} of the {fixed_name} one; beyond it that channel is dark.")
    return sentences


def _ones(image: ItkImage) -> ItkImage:
    sitk = simple_itk()
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return ones


def _resample(image: ItkImage, grid: ItkImage, transform: ItkTransform | None, outside: float, threads: int) -> Array:
    sitk = simple_itk()
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetReferenceImage(grid)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    if transform is not None:
        resampler.SetTransform(transform)
    pixels: Array = sitk.GetArrayFromImage(resampler.Execute(image))
    return pixels

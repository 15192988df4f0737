"""Rigid registration of one sequence to another, and resampling onto its grid, by SimpleITK.

Sequences of one visit share the scanner's coordinates, but a head moves between them, and two visits share nothing.
Registration finds the rigid motion that maximises the mutual information of the two images (Mattes et al., IEEE TMI
2003), which does not assume equal contrasts, over a pyramid of resolutions.

Affines here map (column, row, slice) to RAS+ millimetres. SimpleITK is imported where it is used, since reading headers
does not need it.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from metseg.contracts import Align, Alignment, Role
from metseg.errors import UnusableImage
from metseg.imaging.arrays import Affine, Array, Shape

__all__ = ["RegisteredImage", "RigidMotion", "SpatialImage", "describe_registration", "register", "same_grid"]

ItkImage = Any
ItkTransform = Any

MAX_CORNER_DISTANCE_MM = 0.05
"""Corners no further apart are the same: headers keep 32 bits, and rotations as quaternions."""
MIN_VOXEL_MM = 2.0
"""Images are registered in cubes of this size, or larger ones where a side would have more than `MAX_VOXELS`."""
MAX_VOXELS = 128
MIN_SMOOTHED_VOXELS = 4  # of a side, for the recursive filter
MIN_VOXELS = 8
"""A thinner image cannot be registered: the pyramid would leave nothing of it."""
SHRINK_FACTORS, SMOOTHING_SIGMAS_MM = (4, 2, 1), (4.0, 2.0, 0.0)
MAX_ITERATIONS = 60  # per level; most end earlier
HISTOGRAM_BINS = 32
SAMPLING_SHARE = 0.25
SEED = 20
MAX_ROTATION_DEGREES = 45.0
MIN_COVERAGE = 0.05
FULL_COVERAGE = 0.95
THREAD_COUNT_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class SpatialImage:
    """Pixels, (slice, row, column), with their affine."""

    pixels: Array
    affine: Affine


@dataclass(frozen=True)
class RigidMotion:
    """The displacement of the fixed image's centre, in millimetres, and the angle of the rotation."""

    translation_mm: float
    rotation_degrees: float

    def to_alignment(self, role: Role) -> Alignment:
        """The motion of a sequence as a result reports it."""
        return Alignment(
            role=role, moved_mm=round(self.translation_mm, 2), turned_degrees=round(self.rotation_degrees, 2)
        )


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
    fixed_itk, moving_itk = _to_itk(fixed), _to_itk(moving)
    transform, motion = _find_motion(fixed_itk, moving_itk, threads) if align == "rigid" else (None, None)
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


def _sitk() -> Any:  # noqa: ANN401 (it ships no types)
    import SimpleITK

    return SimpleITK


def _to_itk(spatial: SpatialImage) -> ItkImage:
    sitk = _sitk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(spatial.pixels, np.float32))
    lengths = np.linalg.norm(spatial.affine[:3, :3], axis=0)
    image.SetOrigin(spatial.affine[:3, 3].tolist())
    image.SetSpacing(lengths.tolist())
    image.SetDirection((spatial.affine[:3, :3] / lengths).ravel().tolist())
    return image


def _ones(image: ItkImage) -> ItkImage:
    sitk = _sitk()
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return ones


def _resample(image: ItkImage, grid: ItkImage, transform: ItkTransform | None, outside: float, threads: int) -> Array:
    sitk = _sitk()
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetReferenceImage(grid)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    if transform is not None:
        resampler.SetTransform(transform)
    pixels: Array = sitk.GetArrayFromImage(resampler.Execute(image))
    return pixels


def _find_motion(fixed: ItkImage, moving: ItkImage, threads: int) -> tuple[ItkTransform | None, RigidMotion | None]:
    """The motion from the fixed to the moving image; None where registration fails or turns the head too far."""
    small_fixed, small_moving = _isotropic(fixed, threads), _isotropic(moving, threads)
    if min(*small_fixed.GetSize(), *small_moving.GetSize()) < MIN_VOXELS:
        return None, None
    with _one_thread():
        transform = _optimise(small_fixed, small_moving)
    if transform is None:
        return None, None
    motion = _motion_of(transform)
    return (None, None) if motion.rotation_degrees > MAX_ROTATION_DEGREES else (transform, motion)


def _optimise(fixed: ItkImage, moving: ItkImage) -> ItkTransform | None:
    """The transform of the least metric; None where the images do not overlap, or were moved apart."""
    transform = _initial_transform(fixed, moving)
    if transform is None:
        return None
    method = _registration_method()
    method.SetInitialTransform(transform, inPlace=True)
    method.SetShrinkFactorsPerLevel(SHRINK_FACTORS)
    method.SetSmoothingSigmasPerLevel(SMOOTHING_SIGMAS_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, MAX_ITERATIONS, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # SimpleITK's only error; here: the images were moved apart
        return None
    return transform


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute the metric with one thread; it uses the process's default and has no setting.

    Several threads sum the metric in the order in which they end, so that one input gives two answers. The default is
    restored afterwards.
    """
    process = _sitk().ProcessObject
    with THREAD_COUNT_LOCK:
        before = process.GetGlobalDefaultNumberOfThreads()
        process.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            process.SetGlobalDefaultNumberOfThreads(before)


def _isotropic(image: ItkImage, threads: int) -> ItkImage:
    """The image in cubes large enough that registration takes the same time for every upload."""
    sitk = _sitk()
    lengths = [size * (count - 1) for size, count in zip(image.GetSpacing(), image.GetSize(), strict=True)]
    side = max(MIN_VOXEL_MM, *(length / MAX_VOXELS for length in lengths))
    if min(image.GetSize()) >= MIN_SMOOTHED_VOXELS:
        smoothing = sitk.SmoothingRecursiveGaussianImageFilter()
        smoothing.SetNumberOfThreads(threads)
        smoothing.SetSigma(side / 2)
        image = smoothing.Execute(image)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetSize([int(length / side) + 1 for length in lengths])
    resampler.SetOutputSpacing([side] * 3)
    resampler.SetOutputOrigin(image.GetOrigin())
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetInterpolator(sitk.sitkLinear)
    return resampler.Execute(image)


def _initial_transform(fixed: ItkImage, moving: ItkImage) -> ItkTransform | None:
    """The identity or the one that centres the images on each other, whichever has the lower metric."""
    sitk = _sitk()
    centred = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    centred = sitk.Euler3DTransform(centred)
    identity = sitk.Euler3DTransform()
    identity.SetCenter(centred.GetCenter())
    rated = [(value, start) for start in (identity, centred) if (value := _metric(fixed, moving, start))]
    return min(rated, key=lambda each: each[0])[1] if rated else None


def _metric(fixed: ItkImage, moving: ItkImage, transform: ItkTransform) -> float | None:
    """Mattes' metric, lower is better; None where the images do not overlap."""
    method = _registration_method()
    method.SetInitialTransform(transform)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # SimpleITK's only error; here: no sample is in both images
        return None


def _registration_method() -> Any:  # noqa: ANN401
    sitk = _sitk()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLING_SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _motion_of(transform: ItkTransform) -> RigidMotion:
    centre = np.array(transform.GetCenter())
    translation = np.array(transform.TransformPoint(centre.tolist())) - centre
    cosine = (np.trace(np.array(transform.GetMatrix()).reshape(3, 3)) - 1) / 2
    return RigidMotion(float(np.linalg.norm(translation)), math.degrees(math.acos(min(max(cosine, -1.0), 1.0))))

"""Rigid motion between two images of one head, by SimpleITK.

The motion is the one that maximises the mutual information of the two images (Mattes et al., IEEE TMI 2003), which does
not assume equal contrasts, over a pyramid of resolutions. `visit_motion` adds what two visits need.

Affines here map (column, row, slice) to RAS+ millimetres. SimpleITK is imported where it is used, since reading headers
does not need it.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from metseg.contracts import Alignment, Role
from metseg.imaging.arrays import Affine, Array

__all__ = [
    "MIN_VOXELS",
    "ItkImage",
    "ItkTransform",
    "Optimisation",
    "RigidMotion",
    "SpatialImage",
    "best_start",
    "find_motion",
    "isotropic",
    "one_thread",
    "optimise",
    "simple_itk",
    "starts",
    "to_itk",
    "unless_too_far",
]

ItkImage = Any
ItkTransform = Any

MIN_VOXEL_MM = 2.0
"""Images are registered in cubes of this size, or larger ones where a side would have more than `MAX_VOXELS`."""
MAX_VOXELS = 128
MIN_SMOOTHED_VOXELS = 4  # of a side, for the recursive filter
MIN_VOXELS = 8
"""A thinner image cannot be registered: the pyramid would leave nothing of it."""
SHRINK_FACTORS, SMOOTHING_SIGMAS_MM = (4, 2, 1), (4.0, 2.0, 0.0)
HISTOGRAM_BINS = 32
SEED = 20
MAX_ROTATION_DEGREES = 45.0
THREAD_COUNT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Optimisation:
    """How the metric is minimised.

    Attributes:
        sampling_shares: of the voxels that the metric uses, by level.
        first_step_mm: of each level.
        last_step_mm: at which a level ends.
        max_iterations: per level; most end earlier.
    """

    sampling_shares: tuple[float, ...]
    first_step_mm: float
    last_step_mm: float
    max_iterations: int


ONE_VISIT = Optimisation((0.25, 0.25, 0.25), 1.0, 0.01, 60)


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


def find_motion(fixed: ItkImage, moving: ItkImage, threads: int) -> tuple[ItkTransform | None, RigidMotion | None]:
    """Find the motion between two sequences of one visit.

    Args:
        fixed: as from `to_itk`.
        moving: the image that moved.
        threads: for resampling; the registration has one.

    Returns:
        The transform from the fixed to the moving image, and its size; None for both where the registration fails or
        turns the head too far.
    """
    small_fixed, small_moving = isotropic(fixed, threads), isotropic(moving, threads)
    if min(*small_fixed.GetSize(), *small_moving.GetSize()) < MIN_VOXELS:
        return None, None
    with one_thread():
        start = best_start(small_fixed, small_moving, starts(small_fixed, small_moving), None)
        transform = None if start is None else optimise(small_fixed, small_moving, start, ONE_VISIT)
    return unless_too_far(transform)


def to_itk(spatial: SpatialImage) -> ItkImage:
    """A SimpleITK image of float32 pixels, in RAS+ millimetres."""
    sitk = simple_itk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(spatial.pixels, np.float32))
    lengths = np.linalg.norm(spatial.affine[:3, :3], axis=0)
    image.SetOrigin(spatial.affine[:3, 3].tolist())
    image.SetSpacing(lengths.tolist())
    image.SetDirection((spatial.affine[:3, :3] / lengths).ravel().tolist())
    return image


def simple_itk() -> Any:  # noqa: ANN401 (it ships no types)
    """The library, imported on use."""
    import SimpleITK

    return SimpleITK


def unless_too_far(transform: ItkTransform | None) -> tuple[ItkTransform | None, RigidMotion | None]:
    """A transform and its size; None for both where it turns the head too far to be believed."""
    if transform is None:
        return None, None
    motion = _motion_of(transform)
    return (None, None) if motion.rotation_degrees > MAX_ROTATION_DEGREES else (transform, motion)


def optimise(
    fixed: ItkImage,
    moving: ItkImage,
    start: ItkTransform,
    how: Optimisation,
    *,
    mask: ItkImage | None = None,
    levels: int = len(SHRINK_FACTORS),
) -> ItkTransform | None:
    """Minimise the metric from a start.

    Args:
        fixed: as from `isotropic`.
        moving: the same.
        start: the first transform.
        how: the steps.
        mask: of the fixed image, where the metric is computed; None: everywhere.
        levels: of the pyramid, coarse ones first.

    Returns:
        The transform of the least metric; None where the images do not overlap, or were moved apart.
    """
    sitk = simple_itk()
    transform = sitk.Euler3DTransform(start)
    method = _registration_method(mask)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetShrinkFactorsPerLevel(SHRINK_FACTORS[:levels])
    method.SetSmoothingSigmasPerLevel(SMOOTHING_SIGMAS_MM[:levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetMetricSamplingPercentagePerLevel(how.sampling_shares[:levels], SEED)
    method.SetOptimizerAsRegularStepGradientDescent(
        how.first_step_mm, how.last_step_mm, how.max_iterations, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # SimpleITK's only error; here: the images were moved apart
        return None
    return transform


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute the metric with one thread; it uses the process's default and has no setting.

    Several threads sum the metric in the order in which they end, so that one input gives two answers. The default is
    restored afterwards.
    """
    process = simple_itk().ProcessObject
    with THREAD_COUNT_LOCK:
        before = process.GetGlobalDefaultNumberOfThreads()
        process.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            process.SetGlobalDefaultNumberOfThreads(before)


def isotropic(image: ItkImage, threads: int) -> ItkImage:
    """Resample an image to cubes large enough that registration takes the same time for every upload.

    Args:
        image: as from `to_itk`.
        threads: for resampling.

    Returns:
        The image in cubes.
    """
    sitk = simple_itk()
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


def starts(fixed: ItkImage, moving: ItkImage) -> list[ItkTransform]:
    """Transforms to start from.

    Args:
        fixed: as from `isotropic`.
        moving: the same.

    Returns:
        The identity, and the transform that centres the images on each other.
    """
    sitk = simple_itk()
    centred = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    centred = sitk.Euler3DTransform(centred)
    identity = sitk.Euler3DTransform()
    identity.SetCenter(centred.GetCenter())
    return [identity, centred]


def best_start(
    fixed: ItkImage, moving: ItkImage, transforms: Sequence[ItkTransform], mask: ItkImage | None
) -> ItkTransform | None:
    """Choose the transform to start from.

    Args:
        fixed: as from `isotropic`.
        moving: the same.
        transforms: to choose from.
        mask: of the fixed image, where the metric is computed; None: everywhere.

    Returns:
        The transform with the lowest metric; None where the images overlap at none.
    """
    rated = [(value, start) for start in transforms if (value := _metric(fixed, moving, start, mask))]
    return min(rated, key=lambda each: each[0])[1] if rated else None


def _metric(fixed: ItkImage, moving: ItkImage, transform: ItkTransform, mask: ItkImage | None) -> float | None:
    """Mattes' metric, lower is better; None where the images do not overlap."""
    method = _registration_method(mask)
    method.SetInitialTransform(transform)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # SimpleITK's only error; here: no sample is in both images
        return None


def _registration_method(mask: ItkImage | None) -> Any:  # noqa: ANN401
    sitk = simple_itk()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(ONE_VISIT.sampling_shares[0], SEED)
    method.SetInterpolator(sitk.sitkLinear)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    return method


def _motion_of(transform: ItkTransform) -> RigidMotion:
    centre = np.array(transform.GetCenter())
    translation = np.array(transform.TransformPoint(centre.tolist())) - centre
    cosine = (np.trace(np.array(transform.GetMatrix()).reshape(3, 3)) - 1) / 2
    return RigidMotion(float(np.linalg.norm(translation)), math.degrees(math.acos(min(max(cosine, -1.0), 1.0))))

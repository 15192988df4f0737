"""One sequence onto another's grid: rigid registration and resampling, by SimpleITK.

Sequences of one visit lie in one scanner's coordinates, but a head moves between them, and two visits share nothing.
The motion that is looked for is rigid. It is the one that makes the two images tell most of each other: Mattes'
mutual information (Mattes et al., IEEE TMI 2003), which needs no equal contrasts, over a pyramid of resolutions.

Affines here map (column, row, slice) to RAS+ millimetres. SimpleITK is imported where it is used: whoever only reads
headers needs it not.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metseg.contracts import Align, Alignment, Role
from metseg.errors import UnusableImage
from metseg.imaging.orientation import Affine

__all__ = ["Motion", "Moved", "Placed", "onto", "same_grid", "words"]

Pixels = npt.NDArray[Any]
Image = Any
Transform = Any

SAME_MM = 0.05
"""Corners that lie no further apart are the same: headers keep 32 bits, and rotations as quaternions."""
REGISTRATION_MM = 2.0
"""Images are registered in cubes of this size, or larger ones where there would be more than `MOST` along a side."""
MOST = 128
LEAST_SMOOTHED = 4  # the recursive filter needs as many
LEAST = 8
"""A thinner image cannot be registered: the pyramid would leave nothing of it."""
SHRINKS, SMOOTHINGS_MM = (4, 2, 1), (4.0, 2.0, 0.0)
ITERATIONS = 60  # a level; most end earlier
BINS = 32
SAMPLED = 0.25
SEED = 20
MOST_TURNED_DEGREES = 45.0
LEAST_COVERED = 0.05
WELL_COVERED = 0.95
ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, eq=False)
class Placed:
    """Pixels, (slice, row, column), and where they lie."""

    pixels: Pixels
    affine: Affine


@dataclass(frozen=True)
class Motion:
    """A rigid motion: what the middle of the base moves by, in millimetres, and the angle of its rotation."""

    moved_mm: float
    turned_degrees: float

    def told(self, role: Role) -> Alignment:
        """As a result tells it."""
        return Alignment(role=role, moved_mm=round(self.moved_mm, 2), turned_degrees=round(self.turned_degrees, 2))


@dataclass(frozen=True, eq=False)
class Moved:
    """A sequence on the base's grid.

    Attributes:
        pixels: float32, (slice, row, column) of the base; what the sequence does not cover is as dark as its darkest.
        motion: None where it was not registered, or could not be.
        covered: the share of the base that the sequence covers.
    """

    pixels: Pixels
    motion: Motion | None
    covered: float


def same_grid(one: Affine, other: Affine, shape: tuple[int, int, int]) -> bool:
    """Whether two affines put the corners of a volume, (slice, row, column), to the same places."""
    slices, rows, columns = shape
    corners = np.array(
        [(column, row, slice_, 1) for column in (0, columns - 1) for row in (0, rows - 1) for slice_ in (0, slices - 1)]
    )
    apart = corners @ (one - other).T[:, :3]
    return bool(np.linalg.norm(apart, axis=1).max() <= SAME_MM)


def onto(base: Placed, sequence: Placed, align: Align, threads: int) -> Moved:
    """Bring a sequence onto the base's grid, by linear interpolation.

    Args:
        base: what it is brought onto.
        sequence: of the same patient.
        align: `rigid` looks for the motion between them first, `none` trusts the affines.
        threads: that resampling may use; the registration has one.

    Raises:
        UnusableImage: the sequence meets hardly any of the base.
    """
    fixed, moving = _image(base), _image(sequence)
    transform, motion = _register(fixed, moving, threads) if align == "rigid" else (None, None)
    pixels = _resample(moving, fixed, transform, float(sequence.pixels.min()), threads)
    inside = _resample(_ones(moving), fixed, transform, 0, threads)
    covered = float((inside > 0).mean())
    if covered < LEAST_COVERED:
        raise UnusableImage("The volumes of the study lie apart from each other; send volumes of one visit.")
    return Moved(pixels, motion, covered)


def words(moved: Moved, name: str, base: str, align: Align) -> list[str]:
    """What was done to a sequence, for the reader of the result."""
    start = f"The {name} volume lies on another grid than the {base} one and was resampled onto it"
    if moved.motion is not None:
        told = f"after a registration that moved it by {moved.motion.moved_mm:.1f} mm and turned it by "
        said = [f"{start}, {told}{moved.motion.turned_degrees:.1f} degrees."]
    elif align == "rigid":
        said = [f"{start} where its header puts it: it could not be registered, so compare their outlines."]
    else:
        said = [f"{start} where its header puts it, without registration, as asked for."]
    if moved.covered < WELL_COVERED:
        said.append(f"The {name} volume covers {moved.covered:.0%} of the {base} one; beyond it that channel is dark.")
    return said


def _sitk() -> Any:  # noqa: ANN401 (it tells no types)
    import SimpleITK

    return SimpleITK


def _image(placed: Placed) -> Image:
    sitk = _sitk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(placed.pixels, np.float32))
    lengths = np.linalg.norm(placed.affine[:3, :3], axis=0)
    image.SetOrigin(placed.affine[:3, 3].tolist())
    image.SetSpacing(lengths.tolist())
    image.SetDirection((placed.affine[:3, :3] / lengths).ravel().tolist())
    return image


def _ones(image: Image) -> Image:
    sitk = _sitk()
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return ones


def _resample(image: Image, grid: Image, transform: Transform | None, outside: float, threads: int) -> Pixels:
    sitk = _sitk()
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetReferenceImage(grid)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    if transform is not None:
        resampler.SetTransform(transform)
    pixels: Pixels = sitk.GetArrayFromImage(resampler.Execute(image))
    return pixels


def _register(fixed: Image, moving: Image, threads: int) -> tuple[Transform | None, Motion | None]:
    """The motion from the base to the sequence; None where none makes them fit better than their headers do."""
    small_fixed, small_moving = _cubes(fixed, threads), _cubes(moving, threads)
    if min(*small_fixed.GetSize(), *small_moving.GetSize()) < LEAST:
        return None, None
    with _one_thread():
        found = _descended(small_fixed, small_moving)
    if found is None:
        return None, None
    motion = _motion(found)
    return (None, None) if motion.turned_degrees > MOST_TURNED_DEGREES else (found, motion)


def _descended(fixed: Image, moving: Image) -> Transform | None:
    """The motion at the bottom of the metric; None where the images do not meet, or were moved apart."""
    start = _start(fixed, moving)
    if start is None:
        return None
    method = _method()
    method.SetInitialTransform(start, inPlace=True)
    method.SetShrinkFactorsPerLevel(SHRINKS)
    method.SetSmoothingSigmasPerLevel(SMOOTHINGS_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, ITERATIONS, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # SimpleITK's only error; here: the images were moved apart
        return None
    return start


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for the metric, which takes the process's default and heeds no setting of its own.

    Threads add up the metric in the order in which they end, so that one input gave two answers. The default is as it
    was once the registration ends.
    """
    process = _sitk().ProcessObject
    with ONE_AT_A_TIME:
        before = process.GetGlobalDefaultNumberOfThreads()
        process.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            process.SetGlobalDefaultNumberOfThreads(before)


def _cubes(image: Image, threads: int) -> Image:
    """The image in cubes large enough that registration takes the same time whatever was uploaded."""
    sitk = _sitk()
    lengths = [size * (count - 1) for size, count in zip(image.GetSpacing(), image.GetSize(), strict=True)]
    side = max(REGISTRATION_MM, *(length / MOST for length in lengths))
    if min(image.GetSize()) >= LEAST_SMOOTHED:
        average = sitk.SmoothingRecursiveGaussianImageFilter()
        average.SetNumberOfThreads(threads)
        average.SetSigma(side / 2)
        image = average.Execute(image)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetSize([int(length / side) + 1 for length in lengths])
    resampler.SetOutputSpacing([side] * 3)
    resampler.SetOutputOrigin(image.GetOrigin())
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetInterpolator(sitk.sitkLinear)
    return resampler.Execute(image)


def _start(fixed: Image, moving: Image) -> Transform | None:
    """Where to look first: as the headers say, or middle on middle, whichever makes the images tell more."""
    sitk = _sitk()
    centred = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    centred = sitk.Euler3DTransform(centred)
    as_told = sitk.Euler3DTransform()
    as_told.SetCenter(centred.GetCenter())
    judged = [(value, start) for start in (as_told, centred) if (value := _judge(fixed, moving, start))]
    return min(judged, key=lambda each: each[0])[1] if judged else None


def _judge(fixed: Image, moving: Image, transform: Transform) -> float | None:
    """Mattes' metric, lower is better; None where the images do not meet."""
    method = _method()
    method.SetInitialTransform(transform)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # SimpleITK's only error; here: no sample lies in both images
        return None


def _method() -> Any:  # noqa: ANN401
    sitk = _sitk()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _motion(transform: Transform) -> Motion:
    centre = np.array(transform.GetCenter())
    moved = np.array(transform.TransformPoint(centre.tolist())) - centre
    cosine = (np.trace(np.array(transform.GetMatrix()).reshape(3, 3)) - 1) / 2
    return Motion(float(np.linalg.norm(moved)), math.degrees(math.acos(min(max(cosine, -1.0), 1.0))))

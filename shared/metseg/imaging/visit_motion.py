"""Rigid motion of a head between two visits, whose scanner coordinates have nothing in common.

The registration starts from several positions. Only the part of the head that holds the brain counts, since jaw and
neck move against it. The shading of the coils is divided out, since it differs and mutual information would align it.
"""

import numpy as np
from scipy import ndimage

from metseg.imaging.arrays import Affine, Float64Array, Mask
from metseg.imaging.foreground import foreground_mask
from metseg.imaging.rigid_motion import (
    MIN_VOXELS,
    ItkImage,
    ItkTransform,
    Optimisation,
    SpatialImage,
    best_start,
    isotropic,
    one_thread,
    optimise,
    simple_itk,
    starts,
    to_itk,
    unless_too_far,
)

__all__ = ["find_visit_motion"]

TWO_VISITS = Optimisation((1.0, 0.5, 0.25), 2.0, 0.005, 200)
BRAIN_HEIGHT_MM = 150.0
"""From the vertex down; below lie the jaw and the neck."""
SHADING_MM = 30.0
"""The scale of a coil's shading, which is removed from images of two visits."""
ORTHOGONAL_TO = 1e-4
MAX_BRIGHTNESS = 4.0  # of a voxel, in units of its neighbourhood


def find_visit_motion(
    fixed: SpatialImage, moving: SpatialImage, threads: int = 1, *, guess: Affine | None = None
) -> Affine | None:
    """Find the motion of a head between two visits.

    Args:
        fixed: the image of one visit.
        moving: that of the other; field of view, resolution and sequence may differ.
        threads: for resampling; the registration has one.
        guess: (4, 4), a motion to start from; None: several positions are tried.

    Returns:
        (4, 4), from RAS+ millimetres of the fixed image to those of the moving one; None where the
        registration fails or turns the head too far.
    """
    small_fixed, small_moving = (isotropic(to_itk(image), threads) for image in (fixed, moving))
    if min(*small_fixed.GetSize(), *small_moving.GetSize()) < MIN_VOXELS:
        return None
    mask, moving_mask = _brain_region(small_fixed), _brain_region(small_moving)
    chosen = [*starts(small_fixed, small_moving), _centred(mask, moving_mask)] if guess is None else [_as_start(guess)]
    pair = _without_shading(small_fixed, mask), _without_shading(small_moving, moving_mask)
    with one_thread():
        coarse = [optimise(*pair, start, TWO_VISITS, mask=mask, levels=1) for start in chosen]
        start = best_start(*pair, [one for one in coarse if one is not None], mask)
        transform = None if start is None else optimise(*pair, start, TWO_VISITS, mask=mask)
    transform, _ = unless_too_far(transform)
    return None if transform is None else _matrix_of(transform)


def _brain_region(image: ItkImage) -> ItkImage:
    """The head down to `BRAIN_HEIGHT_MM` below its highest point, as a mask on the image's grid."""
    sitk = simple_itk()
    pixels = sitk.GetArrayFromImage(image)
    low, high = np.percentile(pixels, (0, 99.5))
    head = foreground_mask((255 * ((pixels - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8))
    inside = _upper_part(head, image) if head.any() else np.ones_like(head)
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(image)
    return mask


def _without_shading(image: ItkImage, mask: ItkImage) -> ItkImage:
    """The image in units of the mean of its neighbourhood in a mask; dark outside of it."""
    sitk = simple_itk()
    pixels, inside = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask) > 0
    pixels -= np.percentile(pixels, 1)
    sigma = SHADING_MM / image.GetSpacing()[0]
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    mean = ndimage.gaussian_filter(np.where(inside, pixels, 0), sigma) / np.maximum(weight, 1e-3)
    near = ndimage.binary_dilation(inside, iterations=3)
    even = np.where(near, pixels / np.maximum(mean, 1e-3), 0).clip(0, MAX_BRIGHTNESS)
    evened = sitk.GetImageFromArray(even.astype(np.float32))
    evened.CopyInformation(image)
    return evened


def _upper_part(head: Mask, image: ItkImage) -> Mask:
    """The voxels of a head that lie high enough."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    axes = np.meshgrid(*(np.arange(size) for size in head.shape), indexing="ij", sparse=True)
    upward = [direction[2, axis] * image.GetSpacing()[axis] for axis in range(3)]
    height_mm = sum(step * along for step, along in zip(reversed(upward), axes, strict=True))
    inside: Mask = head & (height_mm > np.percentile(height_mm[head], 99.9) - BRAIN_HEIGHT_MM)
    return inside


def _centred(mask: ItkImage, other: ItkImage) -> ItkTransform:
    """The transform that centres the heads of two masks on each other."""
    transform = simple_itk().Euler3DTransform()
    centre, elsewhere = (_centroid(one) for one in (mask, other))
    transform.SetCenter(centre.tolist())
    transform.SetTranslation((elsewhere - centre).tolist())
    return transform


def _centroid(mask: ItkImage) -> Float64Array:
    indices = np.argwhere(simple_itk().GetArrayFromImage(mask)).mean(axis=0)[::-1]
    return np.array(mask.TransformContinuousIndexToPhysicalPoint(indices.tolist()))


def _as_start(matrix: Affine) -> ItkTransform:
    """A matrix of points as a transform."""
    transform = simple_itk().Euler3DTransform()
    transform.SetMatrix(matrix[:3, :3].ravel().tolist(), ORTHOGONAL_TO)
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def _matrix_of(transform: ItkTransform) -> Affine:
    """The transform as a matrix of points, (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix

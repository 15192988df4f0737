"""Our measures against an independent one: SimpleITK's label shape statistics, on ellipsoids in oblique scans."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from metseg.imaging import measure

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
CASES = range(6)


def turned(random):
    """A random rotation, now and then with a mirrored axis, as scans may have."""
    axes, upper = np.linalg.qr(random.normal(size=(3, 3)))
    return axes * np.sign(np.diag(upper))


def scan(seed):
    """A mask of up to four ellipsoids, its spacing and its affine from (column, row, slice) to RAS+."""
    random = np.random.default_rng(seed)
    spacing_mm = (random.uniform(1, 6), *random.uniform(0.4, 1.6, 2))
    mask = np.zeros((14, 52, 60), bool)
    places = np.stack(np.indices(mask.shape), axis=-1) * spacing_mm
    for _ in range(random.integers(1, 5)):
        centre = random.uniform(0.2, 0.8, 3) * mask.shape * spacing_mm
        local = (places - centre) @ turned(random) / random.uniform(3, 14, 3)
        mask |= (local**2).sum(axis=-1) <= 1
    affine = np.eye(4)
    affine[:3, :3] = turned(random) @ np.diag(spacing_mm[::-1])
    affine[:3, 3] = random.uniform(-120, 120, 3)
    return mask, spacing_mm, affine


def by_itk(mask, spacing_mm, affine):
    """The statistics filter of all components, and their labels, largest first."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    image = sitk.GetImageFromArray(labels.astype(np.uint16))
    image.SetSpacing([float(side) for side in spacing_mm[::-1]])
    image.SetOrigin((RAS_TO_LPS @ affine[:3, 3]).tolist())
    image.SetDirection((RAS_TO_LPS @ affine[:3, :3] / spacing_mm[::-1]).ravel().tolist())
    found = sitk.LabelShapeStatisticsImageFilter()
    found.Execute(image)
    return found, sorted(found.GetLabels(), key=lambda label: -found.GetNumberOfPixels(label))


def in_slice(lesion, in_box, spacing_mm):
    """Feret and equivalent ellipse diameters of one slice of a lesion by SimpleITK."""
    image = sitk.GetImageFromArray(in_box.astype(np.uint8))
    image.SetSpacing([float(side) for side in spacing_mm[:0:-1]])
    found = sitk.LabelShapeStatisticsImageFilter()
    found.ComputeFeretDiameterOn()
    found.Execute(image)
    return found.GetFeretDiameter(1), found.GetEquivalentEllipsoidDiameter(1)


@pytest.mark.parametrize("seed", CASES)
def test_volume_box_and_centroid_are_those_of_simpleitk(seed):
    mask, spacing_mm, affine = scan(seed)
    lesions = measure(mask, spacing_mm, mask.astype(np.float32), affine)
    found, labels = by_itk(mask, spacing_mm, affine)
    assert len(lesions) == len(labels)
    for lesion, label in zip(lesions, labels, strict=True):
        assert lesion.voxels == found.GetNumberOfPixels(label)
        assert lesion.volume_mm3 == pytest.approx(found.GetPhysicalSize(label), rel=1e-6)
        assert RAS_TO_LPS @ lesion.centroid_mm == pytest.approx(found.GetCentroid(label), abs=1e-3)
        *first, columns, rows, slices = found.GetBoundingBox(label)
        assert lesion.box.first == tuple(first[::-1])
        assert np.subtract(lesion.box.stop, lesion.box.first).tolist() == [slices, rows, columns]


@pytest.mark.parametrize("seed", CASES)
def test_the_long_diameter_is_simpleitks_feret_diameter_from_edge_to_edge(seed):
    """SimpleITK measures between the middles of pixels, we between their edges: up to a pixel's diagonal more."""
    mask, spacing_mm, affine = scan(seed)
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    for lesion in measure(mask, spacing_mm, mask.astype(np.float32), affine):
        region = tuple(slice(*ends) for ends in zip(lesion.box.first, lesion.box.stop, strict=True))
        label = np.bincount(labels[region][mask[region]]).argmax()
        slices = [one for one in labels[region] == label if one.any()]
        feret = max(in_slice(lesion, one, spacing_mm)[0] for one in slices)
        assert 0 < lesion.long_diameter_mm - feret <= math.hypot(*spacing_mm[1:]) + 1e-6


@pytest.mark.parametrize("seed", CASES)
def test_both_diameters_of_an_ellipse_are_simpleitks_axes(seed):
    random = np.random.default_rng(seed)
    spacing_mm = (3.0, *random.uniform(0.5, 1.1, 2))
    places = np.stack(np.indices((1, 90, 90)), axis=-1)[..., 1:] * spacing_mm[1:]
    axes, upper = np.linalg.qr(random.normal(size=(2, 2)))
    halves = np.array([random.uniform(14, 20), random.uniform(6, 11)])
    middle = 45 * np.array(spacing_mm[1:])
    mask = ((((places - middle) @ (axes * np.sign(np.diag(upper))) / halves) ** 2).sum(axis=-1)) <= 1
    [lesion] = measure(mask, spacing_mm, mask.astype(np.float32))
    across, along = sorted(in_slice(lesion, mask[0], spacing_mm)[1])
    pixel_mm = math.hypot(*spacing_mm[1:])
    assert lesion.long_diameter_mm == pytest.approx(along, abs=pixel_mm)
    assert lesion.perpendicular_diameter_mm == pytest.approx(across, abs=pixel_mm)

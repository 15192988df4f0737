"""Sequences onto one grid: a known motion is recovered, and a failure is reported."""

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation

from metseg.errors import UnusableImage
from metseg.imaging.registration import (
    RegisteredImage,
    describe_registration,
    register,
    same_grid,
)
from metseg.imaging.rigid_motion import RigidMotion, SpatialImage
from metseg.phantom import head

SPACING_MM = (3.0, 2.0, 2.0)
TURN = Rotation.from_euler("xyz", [4.0, -3.0, 8.0], degrees=True).as_matrix()
SHIFT_MM = np.array([7.0, -5.0, 4.0])


@pytest.fixture(scope="module")
def scan():
    """A phantom's FLAIR and post-contrast, each at its true position."""
    volume = head(5, slices=48, size_px=112, spacing_mm=SPACING_MM).volume
    return [SpatialImage(volume.pixels[..., channel].astype(np.float32), volume.affine) for channel in (1, 2)]


@pytest.fixture(scope="module")
def motion(scan):
    """The head's motion until the second sequence was acquired: a rotation about its centre."""
    middle = (scan[0].affine @ [*(np.array(scan[0].pixels.shape[::-1]) / 2), 1])[:3]
    moved = np.eye(4)
    moved[:3, :3] = TURN
    moved[:3, 3] = middle + SHIFT_MM - TURN @ middle
    return moved


@pytest.fixture(scope="module")
def moved(scan, motion):
    """The second sequence of the moved head, in the scanner's coordinates."""
    back = np.linalg.inv(scan[1].affine) @ np.linalg.inv(motion) @ scan[1].affine
    order = np.eye(4)[[2, 1, 0, 3]]  # scipy counts slices, rows, columns
    return SpatialImage(ndimage.affine_transform(scan[1].pixels, order @ back @ order, order=1), scan[1].affine)


def error(one, other):
    """The mean difference as a share of the mean."""
    return float(np.abs(one - other).mean() / other.mean())


def test_motion_between_two_sequences_is_corrected(scan, moved):
    found = register(scan[0], moved, "rigid", threads=1)
    assert found.motion.translation_mm == pytest.approx(np.linalg.norm(SHIFT_MM), abs=1.0)
    degrees = np.degrees(Rotation.from_matrix(TURN).magnitude())
    assert found.motion.rotation_degrees == pytest.approx(degrees, abs=1.0)
    unmoved = register(scan[0], moved, "none", threads=1)
    assert error(found.pixels, scan[1].pixels) < error(unmoved.pixels, scan[1].pixels) / 3


def test_the_result_does_not_depend_on_the_number_of_threads(scan, moved):
    first, second = (register(scan[0], moved, "rigid", threads=threads) for threads in (1, 2))
    assert np.array_equal(first.pixels, second.pixels)


def test_other_users_of_the_library_keep_their_threads(scan, moved):
    one, other = (SpatialImage(each.pixels[16:32, 32:80, 32:80], each.affine) for each in (scan[0], moved))
    process = SimpleITK.ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(3)
    try:
        assert register(one, other, "rigid", threads=1).motion is not None
        assert process.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def test_without_registration_the_headers_are_trusted(scan):
    away = scan[1].affine.copy()
    away[0, 3] += 2 * np.linalg.norm(away[:3, 0])  # two columns
    found = register(scan[0], SpatialImage(np.roll(scan[1].pixels, 2, axis=2), away), "none", threads=1)
    assert found.motion is None
    assert np.allclose(found.pixels[..., 4:-4], scan[1].pixels[..., 4:-4], atol=0.01)


@pytest.mark.parametrize("align", ["rigid", "none"])
def test_a_slab_too_thin_to_register_keeps_its_header_position(scan, align):
    slab = SpatialImage(scan[1].pixels[20:22], scan[1].affine @ np.array(_up(20)))
    found = register(SpatialImage(scan[0].pixels[20:22], slab.affine), slab, align, threads=1)
    assert found.motion is None
    assert error(found.pixels, slab.pixels) < 0.01


@pytest.mark.parametrize("leans", ["the base", "the sequence"])
def test_a_sheared_volume_is_resampled_in_patient_space(scan, leans):
    """Slices shifted against each other, with an affine that says so, are the same head."""
    straight, shift = scan[1], 0.25  # columns per slice
    affine = straight.affine.copy()
    affine[:3, 2] += shift * straight.affine[:3, 0]
    slices = [
        ndimage.shift(plane, (0, -shift * index), order=1, mode="constant", cval=float(straight.pixels.min()))
        for index, plane in enumerate(straight.pixels)
    ]
    sheared = SpatialImage(np.stack(slices), affine)
    base, sequence = (sheared, straight) if leans == "the base" else (straight, sheared)
    found = register(base, sequence, "none", threads=1)
    inner = np.s_[:, 20:-20, 20:-20]
    assert error(found.pixels[inner], base.pixels[inner]) < 0.05
    assert error(sequence.pixels[inner], base.pixels[inner]) > 0.15


def _up(slices):
    moved = np.eye(4)
    moved[2, 3] = slices
    return moved


def test_a_volume_elsewhere_in_space_is_refused(scan):
    away = scan[1].affine.copy()
    away[:3, 3] += 1000
    with pytest.raises(UnusableImage, match="do not overlap"):
        register(scan[0], SpatialImage(scan[1].pixels, away), "none", threads=1)


def test_grids_are_equal_if_their_corners_are(scan):
    affine = scan[0].affine
    shape = scan[0].pixels.shape
    nudged = affine.copy()
    nudged[0, 3] += 0.01
    turned = affine @ np.diag([1.0, 1.0, 1.001, 1.0])
    assert same_grid(affine, nudged, shape)
    assert not same_grid(affine, turned, shape)


def test_the_warnings_report_motion_and_missing_coverage():
    pixels = np.zeros((1, 1, 1), np.float32)
    warnings = describe_registration(
        RegisteredImage(pixels, RigidMotion(3.21, 4.56), 0.8), "post-contrast", "FLAIR", "rigid"
    )
    assert "by 3.2 mm and rotated it by 4.6 degrees" in warnings[0]
    assert "covers 80%" in warnings[1]
    assert (
        "could not be registered"
        in describe_registration(RegisteredImage(pixels, None, 1.0), "FLAIR", "post-contrast", "rigid")[0]
    )
    [alone] = describe_registration(RegisteredImage(pixels, None, 1.0), "FLAIR", "post-contrast", "none")
    assert "without registration, as requested" in alone

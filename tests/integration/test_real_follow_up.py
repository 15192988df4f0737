"""Follow-up on real MRI: a patient's study moved, cropped and rescaled. Needs the folder METSEG_REAL_DATA."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tests.visits import Scanner, Visit, time_point

from metseg.followup import compare_studies
from metseg.imaging import FLAIR
from metseg_trainer.data import load_patient, scan_folder

pytestmark = pytest.mark.real_data

HEAD_MM = 150.0
PATIENTS = 2


@pytest.fixture(scope="module")
def patients():
    folder = os.environ.get("METSEG_REAL_DATA")
    if not folder:
        pytest.skip("METSEG_REAL_DATA names no folder of TCGA_* patients, so real MRI was not tested")
    return scan_folder(Path(folder))[0][:PATIENTS]


def _visit(patient):
    """A patient's FLAIR and mask, with the position that slices of 150 mm in all would have."""
    volume, mask = load_patient(patient)
    pixels = volume.pixels[..., FLAIR].astype(np.float32)
    spacing = (HEAD_MM / len(pixels), 0.9, 0.9)
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(pixels.shape[::-1]) - 1) / 2)
    return Visit(pixels, mask, affine, Scanner(spacing_mm=spacing, channel=FLAIR))


def _moved(visit, motion):
    """The same head after a motion, in a narrower field of view with other voxels."""
    spacing = (visit.scanner.spacing_mm[0] * 0.8, 1.1, 1.1)
    shape = tuple(
        int(size * old * 0.9 / new)
        for size, old, new in zip(visit.pixels.shape, visit.scanner.spacing_mm, spacing, strict=True)
    )
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    affine[:3, 3] = motion[:3, 3] - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    order = np.eye(4)[[2, 1, 0, 3]]  # scipy counts slices, rows, columns
    to_old = order @ np.linalg.inv(visit.affine) @ np.linalg.inv(motion) @ affine @ order
    pixels = ndimage.affine_transform(visit.pixels, to_old, output_shape=shape, order=1)
    share = ndimage.affine_transform(visit.mask.astype(np.float32), to_old, output_shape=shape, order=1)
    shaded = pixels * np.linspace(0.8, 1.2, shape[2], dtype=np.float32)
    return Visit(shaded.clip(0, 255), share > 0.5, affine, Scanner(spacing_mm=spacing, channel=FLAIR))


def test_a_real_head_that_was_moved_cropped_and_rescaled_is_registered_and_its_lesions_matched(patients):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (5, -4, 9), degrees=True).as_matrix()
    motion[:3, 3] = (9, -12, 6)
    for patient in patients:
        before = _visit(patient)
        studies = [time_point(visit, structure="whole") for visit in (before, _moved(before, motion))]
        found = compare_studies(studies)
        registered = np.array(found.studies[1].registration.from_first)
        points = np.argwhere(before.pixels > before.pixels.mean())[::500, ::-1] @ before.affine[:3, :3].T
        points = np.c_[points + before.affine[:3, 3], np.ones(len(points))]
        error_mm = np.linalg.norm((points @ (registered - motion).T)[:, :3], axis=1)
        turned = Rotation.from_matrix(registered[:3, :3] @ motion[:3, :3].T).magnitude()
        print(
            f"{error_mm.mean():.2f} mm in the mean, {error_mm.max():.2f} mm at most, {np.degrees(turned):.2f} degrees"
        )
        assert error_mm.mean() < 1
        assert np.degrees(turned) < 1
        largest = found.tracks[0].measurements[1]
        assert largest.state in ("stable", "split")  # resampling cuts thin bridges
        assert abs(largest.volume_change_percent) < 10

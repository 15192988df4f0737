"""Small folders of volumes in the layouts of data sets, and what the trainer reads from one."""

import nibabel
import numpy as np
import pytest

from metseg.errors import DatasetError
from metseg_trainer.data import scan_folder
from metseg_trainer.data.layouts import find_studies
from metseg_trainer.data.volumes import read_study

SHAPE = (20, 18, 6)
"""Columns, rows, slices."""
AXIAL = np.diag([-2.0, -2.0, 5.0, 1.0])


def image(seed=0, shape=SHAPE, dtype=np.int16):
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(dtype)


def save(path, voxels, affine=AXIAL):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def labelled(*labels, shape=SHAPE, dtype=np.uint8):
    """A block of 4 x 4 x 1 voxels for each label, one slice after another."""
    mask = np.zeros(shape, dtype)
    for index, label in enumerate(labels):
        mask[4:8, 4:8, index] = label
    return mask


def case(folder, name="BraTS-MET-00001-000", labels=(1, 2, 3), sequences=("t1n", "t1c", "t2f"), **images):
    for index, what in enumerate(sequences):
        save(folder / name / f"{name}-{what}.nii.gz", images.get(what, image(index)))
    save(folder / name / f"{name}-seg.nii.gz", images.get("seg", labelled(*labels)))
    return folder / name


def study(folder):
    [files] = find_studies(folder).volumes
    return read_study(files)


def refused(folder):
    """Why the only study of a folder cannot be used."""
    with pytest.raises(DatasetError) as error:
        scan_folder(folder)
    return error.value.detail

"""nibabel's test files, from its wheel: NIfTI among many other formats, some broken on purpose."""

import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.unit.pictures import LIMITS, upload
from tests.unit.volumes import loaded, volume_of

from metseg.errors import BadInput, UnsupportedFormat, UnusableImage
from metseg.formats import inspect_upload

FOLDER = Path(nibabel.__file__).parent / "tests" / "data"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".pyc")
READ = ["anatomical.nii", "reoriented_anat_moved.nii", "resampled_anat_moved.nii"]
OF_SEVERAL = ["example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii"]
MOST_S = 10.0


def test_there_are_files_to_read():
    assert len(FILES) > 80


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_file_is_read_or_refused_with_a_sentence_in_time(path):
    began = time.monotonic()
    sent = upload(path.read_bytes(), path.name)
    try:
        inspect_upload([sent], LIMITS)
        volume = volume_of(sent)
    except BadInput as error:
        said = error.detail
    else:
        said = "."
        assert volume.pixels.max() > volume.pixels.min()
    assert said.endswith(".")
    assert time.monotonic() - began < MOST_S


@pytest.mark.parametrize("name", READ)
def test_a_volume_has_nibabels_values_at_nibabels_positions(name):
    check(volume_of(upload((FOLDER / name).read_bytes(), name)), nibabel.load(FOLDER / name))


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_each_volume_of_a_four_dimensional_file_is_read_alone(name):
    alone = nibabel.load(FOLDER / name).slicer[..., 1].to_bytes()
    check(volume_of(upload(alone, "flair.nii")), loaded(alone))


def check(volume, image):
    """Our values are nibabel's, at the positions of its affine; NaN is as dark as the darkest value."""
    ours, theirs = volume.pixels[..., 0], image.get_fdata()
    theirs = np.nan_to_num(theirs, nan=np.nanmin(theirs))
    assert np.allclose(np.sort(ours, axis=None), np.sort(theirs, axis=None), rtol=1e-6)
    for index in np.random.default_rng(0).integers(0, ours.shape, (50, 3)):
        where = volume.affine @ [*index[::-1], 1]
        there = np.linalg.solve(image.affine, where)[:3]
        assert np.allclose(there, np.rint(there), atol=1e-3)
        assert ours[tuple(index)] == pytest.approx(theirs[tuple(np.rint(there).astype(int))], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("example4d.nii.gz", UnsupportedFormat, "holds 2 volumes"),
        ("functional.nii", UnsupportedFormat, "holds 20 volumes"),
        ("row_major.dconn.nii", UnsupportedFormat, "more than four dimensions"),
        ("nifti1.hdr", UnsupportedFormat, "without its voxels"),
        ("nifti2.hdr", UnsupportedFormat, "without its voxels"),
        ("standard.nii.gz", UnusableImage, "at least 16 pixels"),
        ("test.mgz", UnsupportedFormat, "convert it to NIfTI"),
    ],
)
def test_a_refusal_has_a_reason(name, error, words):
    with pytest.raises(error, match=words):
        inspect_upload([upload((FOLDER / name).read_bytes(), name)], LIMITS)

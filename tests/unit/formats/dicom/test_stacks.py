"""Which images make up a stack, what is told of the rest, and what is refused."""

import io

import numpy as np
import pydicom
import pydicom.data
import pytest
from tests.dicoms import (
    LIMITS,
    SLICES,
    answered,
    edited,
    points,
    points_of_segmentation,
    uploads,
    volume_of,
    warned,
)

from metseg.errors import (
    MixedSizes,
    SeveralPatients,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
)
from metseg.formats import inspect_upload


@pytest.mark.parametrize("missing", [[4], [2, 3, 4]])
def test_a_gap_is_told_and_moves_nothing_beyond_it(files, phantom, missing):
    heights = sorted(
        {float(pydicom.dcmread(io.BytesIO(content)).ImagePositionPatient[2]) for content in files.values()}
    )

    def drop(found, _):
        return float(found.ImagePositionPatient[2]) not in [heights[index] for index in missing]

    volume, whole = volume_of(edited(files, drop)), volume_of(files)
    assert warned(volume, f"{len(missing)} slices seem to be missing")
    assert np.allclose(volume.affine, whole.affine)
    rest = [index for index in range(SLICES) if index not in missing]
    assert np.array_equal(volume.pixels[rest], whole.pixels[rest])
    assert all(len(np.unique(volume.pixels[missing][..., channel])) == 1 for channel in range(3))
    mask = phantom.mask.copy()
    made, _, warnings = answered(volume, mask)
    mask[missing] = False
    assert warnings == () and mask.any()
    assert points_of_segmentation(made["segmentation.dcm"]) == points(mask.transpose(2, 1, 0), whole.affine)


def test_files_that_came_twice_count_once(files):
    volume = volume_of({**files, **{f"again-{name}": content for name, content in files.items()}})
    assert volume.shape[0] == SLICES
    assert warned(volume, f"sent twice were read once: {len(files)}")


def test_copies_with_new_identifiers_count_once(files):
    def repeat(found, index):
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index}"

    some = dict(list(edited(files, repeat).items())[:3])
    volume = volume_of({**files, **{f"again-{name}": content for name, content in some.items()}})
    assert warned(volume, "sent twice were read once: 3")
    assert volume.shape[0] == SLICES


def test_localisers_are_left_out_and_told(files):
    def turn(found, index):
        found.SeriesInstanceUID = "1.2.3"
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index}"
        found.ImageOrientationPatient = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]][index % 3]

    three = edited(dict(list(files.items())[:3]), turn)
    volume = volume_of({**files, **{f"scout-{name}": content for name, content in three.items()}})
    assert warned(volume, "Localisers were left out")
    with pytest.raises(UnusableImage, match="only localisers"):
        volume_of(three)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT Image"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation"),
        ("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image"),
    ],
)
def test_what_is_no_mr_is_refused_by_its_name(files, kind, words):
    def change(found, _):
        found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = kind

    with pytest.raises(UnsupportedFormat, match=f"no MR image but: {words}"):
        volume_of(edited(files, change))


def test_several_patients_and_several_studies_are_refused(files):
    def rename(found, index):
        found.PatientID = f"P{index % 2}"

    def part(found, index):
        found.StudyInstanceUID = f"1.2.{1 + index % 2}"

    for edit in (rename, part):
        with pytest.raises(SeveralPatients):
            volume_of(edited(files, edit))


def test_slices_without_positions_are_refused(files):
    def forget(found, _):
        del found.ImagePositionPatient

    with pytest.raises(MixedSizes, match="no positions"):
        volume_of(edited(files, forget))


def test_shifted_slices_are_refused(files):
    def shift(found, index):
        found.ImagePositionPatient[0] += 5 * (index % 2)

    with pytest.raises(MixedSizes, match="behind one another"):
        volume_of(edited(files, shift))


def test_pixels_that_are_cut_off_are_refused(files):
    cut = {name: content[:-500] for name, content in files.items()}
    inspect_upload(uploads(cut), LIMITS)
    with pytest.raises(UnreadableImage):
        volume_of(cut)

"""Which images form a stack, what is reported of the rest, and what is refused."""

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
    IncompleteSeries,
    MixedSizes,
    SeveralPatients,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
)
from metseg.formats import inspect_upload, read_volume


@pytest.mark.parametrize("missing", [[4], [2, 3, 4]])
def test_a_gap_is_reported_and_shifts_no_slice(files, phantom, missing):
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


def test_duplicate_files_count_once(files):
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


def test_a_shared_identifier_drops_no_file(files):
    def share(found, _):
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    volume = volume_of(edited(files, share))
    assert np.array_equal(volume.pixels, volume_of(files).pixels)
    assert warned(volume, "share an identifier")
    assert not warned(volume, "sent twice")


def test_single_slice_series_form_one_stack(files):
    def scatter(found, index):
        found.SeriesInstanceUID = f"1.2.3.{index}"

    volume = volume_of(edited(files, scatter))
    assert np.array_equal(volume.pixels, volume_of(files).pixels)
    assert warned(volume, f"{SLICES} series have one number")


def test_series_that_form_no_stack_are_refused(files):
    def scatter(found, index):
        found.SeriesInstanceUID = f"1.2.3.{index}"
        found.SeriesNumber = int(found.SeriesNumber) * 100 + index

    with pytest.raises(IncompleteSeries, match=f"Only 1 of {SLICES} slices"):
        volume_of(edited(files, scatter))


def test_two_acquisitions_sharing_one_position_form_one_stack(files):
    """Odd and even slices in two acquisitions, both with the middle slice."""
    flair = {name: content for name, content in files.items() if b"FLAIR" in content}
    heights = sorted(float(pydicom.dcmread(io.BytesIO(each)).ImagePositionPatient[2]) for each in flair.values())

    def number(found, _):
        found.AcquisitionNumber = heights.index(float(found.ImagePositionPatient[2])) % 2 + 1

    def repeat(found, _):
        if float(found.ImagePositionPatient[2]) != heights[4]:
            return False
        found.AcquisitionNumber, found.InstanceNumber = 2, 99999
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        found.PixelData = (found.pixel_array // 2).tobytes()

    again = {f"again-{name}": content for name, content in edited(flair, repeat).items()}
    volume = volume_of({**files, **edited(flair, number), **again})
    assert np.array_equal(volume.pixels, volume_of(files).pixels)
    assert warned(volume, "left out: 1")


def test_phase_images_in_a_series_are_not_segmented(files):
    def phase(found, index):
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index}"
        found.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
        found.PixelData = (4096 - found.pixel_array).astype("uint16").tobytes()

    post = {name: content for name, content in files.items() if b"T1 axial Gd" in content}
    both = {**files, **{f"phase-{name}": content for name, content in edited(post, phase).items()}}
    volume = volume_of(both)
    assert np.array_equal(volume.pixels, volume_of(files).pixels)
    assert warned(volume, "mixes kinds of image")


def test_a_series_of_which_many_slices_are_phase_images_is_refused(files):
    def change(found, index):
        if index % 3:
            found.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]

    with pytest.raises(IncompleteSeries, match="slices that seem to belong to series 4"):
        volume_of(edited({name: content for name, content in files.items() if b"T1 axial Gd" in content}, change))


def test_indistinguishable_repetitions_are_refused(files):
    def again(found, index):
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index}"
        found.PixelData = (found.pixel_array // 2).tobytes()

    with pytest.raises(IncompleteSeries, match="nothing in the headers distinguishes"):
        volume_of({**files, **{f"again-{name}": content for name, content in edited(files, again).items()}})


def test_a_series_lacking_part_of_the_head_is_reported_or_refused(files):
    heights = sorted({float(pydicom.dcmread(io.BytesIO(each)).ImagePositionPatient[2]) for each in files.values()})

    def keep(count):
        return lambda found, _: (
            b"FLAIR" not in found.SeriesDescription.encode() or float(found.ImagePositionPatient[2]) in heights[:count]
        )

    assert warned(volume_of(edited(files, keep(6))), "FLAIR series lacks 25%")
    with pytest.raises(IncompleteSeries, match="lacks 62%"):
        volume_of(edited(files, keep(3)))


def test_localisers_are_left_out_and_reported(files):
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
def test_other_modalities_and_objects_are_refused_by_name(files, kind, words):
    def change(found, _):
        found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = kind

    with pytest.raises(UnsupportedFormat, match=f"no MR image, only: {words}"):
        volume_of(edited(files, change))


def test_several_patients_and_several_studies_are_refused(files):
    def rename(found, index):
        found.PatientID = f"P{index % 2}"

    def part(found, index):
        found.StudyInstanceUID = f"1.2.{1 + index % 2}"

    def age(found, index):
        found.PatientID, found.PatientBirthDate = "", f"19{50 + index % 2}0101"

    for edit in (rename, part, age):
        with pytest.raises(SeveralPatients):
            volume_of(edited(files, edit))


def test_two_patients_without_identifiers_are_refused_in_fields(files):
    def sex(found, index):
        found.PatientID, found.PatientSex = "", "FM"[index % 2]

    one, other = (dict(list(edited(files, sex).items())[start:24:2]) for start in (0, 1))
    with pytest.raises(SeveralPatients):
        read_volume([*uploads(one, "flair"), *uploads(other, "post")], LIMITS)


def test_one_patient_may_be_written_in_several_ways(files):
    def rewrite(found, index):
        found.PatientID = ("Phantom-1", "PHANTOM-1 ")[index % 2]
        found.PatientSex = ("O", "F")[index % 2]

    assert np.array_equal(volume_of(edited(files, rewrite)).pixels, volume_of(files).pixels)


def test_slices_without_positions_are_refused(files):
    def forget(found, _):
        del found.ImagePositionPatient

    with pytest.raises(MixedSizes, match="no positions"):
        volume_of(edited(files, forget))


def test_shifted_slices_are_refused(files):
    def shift(found, index):
        found.ImagePositionPatient[0] += 5 * (index % 2)

    with pytest.raises(MixedSizes, match="form one stack"):
        volume_of(edited(files, shift))


def test_truncated_pixels_are_refused(files):
    cut = {name: content[:-500] for name, content in files.items()}
    inspect_upload(uploads(cut), LIMITS)
    with pytest.raises(UnreadableImage):
        volume_of(cut)

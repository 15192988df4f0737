"""DICOM results of studies with unusual but valid headers."""

import io

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from tests.dicoms import answered, edited, volume_of

from metseg.imaging import label_lesions

NAMES = [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 6", "Doe^Jane"),
    ("ISO 2022 IR 100", "Müller^Änne"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
]


@pytest.mark.parametrize(("character_set", "name"), NAMES)
def test_a_name_in_any_character_set_is_kept_in_the_results(files, phantom, character_set, name):
    def named(dataset, _):
        dataset.SpecificCharacterSet, dataset.PatientName = character_set, name

    made, _, warnings = answered(volume_of(edited(files, named)), phantom.mask)
    assert warnings == ()
    for content in made.values():
        assert str(pydicom.dcmread(io.BytesIO(content)).PatientName) == name


def described(content):
    """Label and type of each segment, and how many voxels it has."""
    segments = highdicom.seg.segread(io.BytesIO(content))
    voxels = segments.get_volume(combine_segments=True, relabel=False).array
    return [
        (
            segments.get_segment_description(number).segment_label,
            segments.get_segment_description(number).segmented_property_type.meaning,
            np.count_nonzero(voxels == number),
        )
        for number in segments.segment_numbers
    ]


def groups(content):
    """Tracking identifier and volume of each group of measurements."""
    report = highdicom.sr.srread(io.BytesIO(content))
    return [
        (group.tracking_identifier, [each.value for each in group.get_measurements(codes.SCT.Volume)])
        for group in report.content.get_volumetric_roi_measurement_groups()
    ]


def test_core_and_abnormality_are_coded_segments_with_their_volumes(files, phantom):
    volume = volume_of(files)
    labels = label_lesions(phantom.mask)
    core = (labels == 1) | (labels == 2)
    made, found, warnings = answered(volume, core, phantom.mask)
    assert (len(found), warnings) == (2, ())
    rest = np.count_nonzero(phantom.mask & ~core)
    assert described(made["segmentation.dcm"]) == [
        ("Lesion 1", "Neoplasm", found[0].voxels),
        ("Lesion 2", "Neoplasm", found[1].voxels),
        ("FLAIR abnormality", "Edema", rest),
    ]
    voxel_mm3 = np.prod(volume.spacing_mm)
    assert groups(made["report.dcm"]) == [
        ("Lesion 1", [pytest.approx(found[0].volume_mm3, rel=1e-5)]),
        ("Lesion 2", [pytest.approx(found[1].volume_mm3, rel=1e-5)]),
        ("FLAIR abnormality", [pytest.approx(rest * voxel_mm3, rel=1e-5)]),
    ]


def test_an_abnormality_without_a_core_is_no_lesion(files, phantom):
    made, _, warnings = answered(volume_of(files), np.zeros_like(phantom.mask), phantom.mask)
    assert warnings == ()
    assert described(made["segmentation.dcm"]) == [("FLAIR abnormality", "Edema", np.count_nonzero(phantom.mask))]
    assert [identifier for identifier, _ in groups(made["report.dcm"])] == ["FLAIR abnormality"]
    assert "Absent" in pydicom.dcmread(io.BytesIO(made["report.dcm"])).to_json()

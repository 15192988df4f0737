"""DICOM results of studies with unusual but valid headers."""

import io

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from tests.dicoms import answered, edited, reviewed_results, volume_of

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


def observers(content):
    """Type and name of each observer of a report."""
    wanted = {"121005", "121008", "121013"}
    found = []
    for item in pydicom.dcmread(io.BytesIO(content)).ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue in wanted:
            value = item.ConceptCodeSequence[0].CodeMeaning if item.ValueType == "CODE" else item.get("PersonName")
            found.append(str(value or item.get("TextValue")))
    return found


def test_a_reviewed_result_names_the_reader_and_the_device_that_answered_first(files, phantom):
    volume = volume_of(files)
    made, found = reviewed_results(volume, phantom.mask, phantom.mask)
    assert observers(made["report.dcm"]) == ["Person", "ward-3", "Device", "metseg"]
    assert observers(answered(volume, phantom.mask)[0]["report.dcm"]) == ["Device", "metseg"]
    segmentation = pydicom.dcmread(io.BytesIO(made["segmentation.dcm"]))
    assert segmentation.ContentCreatorName == "ward-3"
    types = [each.SegmentAlgorithmType for each in segmentation.SegmentSequence]
    expected = {"model": "AUTOMATIC", "both": "SEMIAUTOMATIC", "reader": "MANUAL"}
    assert types == [expected[lesion.outlined_by] for lesion in found]
    assert set(types) == set(expected.values())
    for segment in segmentation.SegmentSequence:
        assert ("SegmentAlgorithmName" in segment) == (segment.SegmentAlgorithmType != "MANUAL")
    assert segmentation.SegmentSequence[0].SegmentLabel == found[0].label
    report = pydicom.dcmread(io.BytesIO(made["report.dcm"]))
    assert report.VerificationFlag == "UNVERIFIED", "a reader with a key has not signed it"


def test_a_review_is_another_instance_of_the_same_series_and_lesions_keep_their_identity(files, phantom):
    volume = volume_of(files)
    own, reviewed = answered(volume, phantom.mask)[0], reviewed_results(volume, phantom.mask)[0]
    for name in ("segmentation.dcm", "report.dcm"):
        first, second = (pydicom.dcmread(io.BytesIO(each[name])) for each in (own, reviewed))
        assert first.SeriesInstanceUID == second.SeriesInstanceUID
        assert first.SOPInstanceUID != second.SOPInstanceUID
        assert (first.InstanceNumber, second.InstanceNumber) == (1, 4)
    tracked = [
        [each.TrackingUID for each in pydicom.dcmread(io.BytesIO(made["segmentation.dcm"])).SegmentSequence]
        for made in (own, reviewed)
    ]
    assert tracked[0] == tracked[1]

"""The structured report of a follow-up: one identity for a lesion at all dates."""

import io

import pydicom
import pytest
from tests.followed_dicom import dicom_job, followed, report_of

from metseg.errors import NotAvailable, NotFound
from metseg.formats.dicom import store_source

TRACKING_UID, TIME_POINT, VOLUME = "112040", "C2348792", "118565006"


@pytest.fixture(scope="module")
def jobs():
    return [dicom_job("one"), dicom_job("two", keep=1), dicom_job("three", keep=1)]


def _groups(content):
    """The measurement groups of a report: code values with their texts, UIDs or numbers."""
    [measurements] = [item for item in content.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    return [
        {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.ContentSequence}
        for group in measurements.ContentSequence
    ]


def _uids(document):
    return [group[TRACKING_UID].UID for group in _groups(document)]


def test_a_lesion_has_one_uid_at_all_dates_in_all_follow_ups_and_in_the_segmentation(jobs):
    first, longer = (pydicom.dcmread(io.BytesIO(report_of(followed(*some)))) for some in (jobs[:2], jobs))
    segmentation = pydicom.dcmread(io.BytesIO(jobs[0].artefacts["segmentation.dcm"]))
    expected = [segment.TrackingUID for segment in segmentation.SegmentSequence]
    assert len(expected) > 1
    assert _uids(first) == [uid for uid in expected for _ in range(2)]
    assert _uids(longer) == [uid for uid in expected for _ in range(3)]


def test_each_group_has_its_date_and_a_lesion_that_is_gone_is_absent(jobs):
    document = pydicom.dcmread(io.BytesIO(report_of(followed(*jobs[:2]))))
    groups = _groups(document)
    assert [group[TIME_POINT].TextValue for group in groups[:2]] == ["study 1", "study 2"]
    assert all(VOLUME in group for group in groups[:2])
    assert VOLUME in groups[2] and VOLUME not in groups[3]
    assert document.StudyInstanceUID == jobs[1].volume.origin.headers[0].StudyInstanceUID
    others = {item.StudyInstanceUID for item in document.PertinentOtherEvidenceSequence}
    assert others == {jobs[0].volume.origin.headers[0].StudyInstanceUID}


def test_headers_of_two_patients_are_not_joined_in_a_report(jobs):
    other = dicom_job("four", keep=1)
    for header in other.volume.origin.headers:
        header.PatientID = "someone else"
    other.artefacts |= store_source(other.volume)
    with pytest.raises(NotAvailable, match="different patients"):
        report_of(followed(jobs[0], other))


def test_studies_that_were_not_dicom_have_no_report(jobs, monkeypatch):
    def missing(name):
        raise NotFound("no such artefact")

    monkeypatch.setattr(jobs[2], "open_artefact", missing)
    with pytest.raises(NotAvailable, match="uploaded as DICOM"):
        report_of(followed(*jobs))

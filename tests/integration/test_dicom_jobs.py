"""A DICOM study through the deployment: REST, the worker's code, DICOM results, and no identity anywhere."""

import io
import logging
import re
import uuid
import zipfile

import numpy as np
import pydicom
import pytest
from tests.dicoms import points, points_of_segmentation, zipped
from tests.gateways import png, problem

from metseg.client import Client
from metseg.contracts import JobStatus, LesionDecision, Review
from metseg.formats import read_mask
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, SeriesParameters, series_files
from metseg.results.exports import EXPORTS
from metseg_worker.context import open_context
from metseg_worker.tasks import run_job

PLANTED = ("Mustermann", "MRN-4711")


@pytest.fixture(scope="module")
def phantom():
    return head(5, slices=8, size_px=64)


@pytest.fixture(scope="module")
def files(phantom):
    sent = {}
    for channel, scanned in enumerate(SERIES_PARAMETERS.values()):
        pixels = phantom.volume.pixels[..., channel].astype("uint16")
        planted = SeriesParameters(**{**vars(scanned), "patient": (f"{PLANTED[0]}^Erika", PLANTED[1])})
        sent |= {
            f"{PLANTED[0]}/{name}": each for name, each in series_files(pixels, phantom.volume.affine, planted).items()
        }
    return sent


def done(gateway, files, **fields):
    """The job of a study after the worker's code has processed it."""
    with Client(gateway.url) as client:
        job = client.submit([(f"{PLANTED[0]}.zip", zipped(files))], **fields)
        run_job(open_context(gateway.settings), job.id)
        assert client.job(job.id).status == JobStatus.SUCCEEDED
    return job.id


def test_a_dicom_study_gets_dicom_results_on_its_own_frames(gateway, phantom, files):
    job = done(gateway, files)
    with Client(gateway.url) as client:
        segmentation, report = client.mask(job, "dicom-seg"), client.structured_report(job)
        mask, result = read_mask(client.mask(job)), client.result(job)
    assert mask.any()
    assert points_of_segmentation(segmentation) == points(mask.T, phantom.volume.affine)
    assert set(result.sequences) == {"pre", "flair", "post"}
    assert result.dicom
    found = pydicom.dcmread(io.BytesIO(report))
    assert (str(found.PatientName), found.PatientID) == (f"{PLANTED[0]}^Erika", PLANTED[1])
    assert sizes(found) == [
        (each.volume_mm3, each.long_diameter_mm, each.perpendicular_diameter_mm) for each in result.lesions
    ]
    response = gateway.http.get(f"/v1/jobs/{job}/mask?format=dicom-seg")
    assert response.headers["Content-Type"] == "application/dicom"
    assert response.headers["Content-Disposition"].endswith('_segmentation.dcm"')


def test_contours_and_margins_come_over_rest(gateway, phantom, files):
    job = done(gateway, files)
    path = f"/v1/jobs/{job}/mask?format=rtstruct"
    response = gateway.http.get(path)
    assert response.headers["Content-Disposition"].endswith('_structure_set.dcm"')
    found = pydicom.dcmread(io.BytesIO(response.content))
    with Client(gateway.url) as client:
        lesions = client.result(job).lesions
        assert [each.ROIName for each in found.StructureSetROISequence][: len(lesions)] == [
            f"GTV{lesion.number}" for lesion in lesions
        ]
        wide = pydicom.dcmread(io.BytesIO(client.mask(job, "rtstruct", margin_mm=2)))
    assert f"PTV{len(lesions)}" in [each.ROIName for each in wide.StructureSetROISequence]
    margin = gateway.http.get(f"{path}&margin_mm=2")
    assert margin.headers["ETag"] != response.headers["ETag"]
    assert margin.headers["Content-Disposition"].endswith('_structure_set_2mm.dcm"')
    for wrong in ("-1", "31", "nan", "inf", "wide"):
        problem(gateway.http.get(f"{path}&margin_mm={wrong}"), 422, "invalid-parameter")
    problem(gateway.http.get(f"/v1/jobs/{job}/mask?format=nifti&margin_mm=1"), 422, "invalid-parameter")


def test_a_review_changes_the_dicom_results_of_a_job(gateway, phantom, files):
    job = done(gateway, files)
    with Client(gateway.url) as client:
        own, own_report = client.mask(job, "dicom-seg"), client.structured_report(job)
        first = client.result(job).lesions[0]
        decisions = [LesionDecision(voxel=first.peak, decision="reject")]
        client.put_review(job, Review(lesions=decisions), replaces=0)
        segmentation, report = client.mask(job, "dicom-seg"), client.structured_report(job)
        mask, result = read_mask(client.mask(job, structure="core")), client.result(job)
        everything = read_mask(client.mask(job))
        assert client.export(job, EXPORTS["dicom-seg"], reviewed=False) == own
        assert client.export(job, EXPORTS["structured-report"], reviewed=False) == own_report
        contours = client.export(job, EXPORTS["rtstruct"])
    assert result.dicom
    assert points_of_segmentation(segmentation) == points(everything.T, phantom.volume.affine)
    assert points_of_segmentation(segmentation) != points_of_segmentation(own)
    assert np.count_nonzero(mask) == sum(lesion.voxels for lesion in result.lesions)
    assert sizes(pydicom.dcmread(io.BytesIO(report))) == [
        (each.volume_mm3, each.long_diameter_mm, each.perpendicular_diameter_mm) for each in result.lesions
    ]
    assert pydicom.dcmread(io.BytesIO(segmentation)).ContentCreatorName == "Unnamed reader"
    names = [each.ROIName for each in pydicom.dcmread(io.BytesIO(contours)).StructureSetROISequence]
    assert [name for name in names if name.startswith("GTV")] == [f"GTV{each.number}" for each in result.lesions]


def test_pictures_for_a_pacs_come_over_rest(gateway, files):
    job = done(gateway, files)
    response = gateway.http.get(f"/v1/jobs/{job}/secondary-capture")
    assert response.headers["Content-Type"] == "application/zip"
    with Client(gateway.url) as client:
        archive = zipfile.ZipFile(io.BytesIO(client.secondary_capture(job)))
        assert len(archive.namelist()) == client.result(job).shape[0]
    picture = pydicom.dcmread(io.BytesIO(archive.read("0001.dcm")))
    assert picture.PatientID == PLANTED[1]
    assert not any(name.encode() in response.content[:200] for name in PLANTED)


def test_pictures_of_a_reviewed_job_show_what_was_kept(gateway, files):
    job = done(gateway, files)
    with Client(gateway.url) as client:
        own, result = pictures(client.secondary_capture(job)), client.result(job)
        first = result.lesions[0]
        decision = LesionDecision(voxel=first.peak, decision="reject")
        client.put_review(job, Review(lesions=[decision]), replaces=0)
        reviewed = pictures(client.secondary_capture(job))
        again = pictures(client.export(job, EXPORTS["secondary-capture"], reviewed=False))
    assert len(reviewed) == len(own) and again == own
    (_, top, left), (_, bottom, right) = first.box.first, first.box.stop
    colours = []
    for picture in (own[first.largest_slice], reviewed[first.largest_slice]):
        pixels = picture.pixel_array.astype(int)
        scale = pixels.shape[0] // result.shape[1]
        inside = pixels[top * scale : bottom * scale, left * scale : right * scale]
        colours.append(int((inside.max(axis=2) - inside.min(axis=2) > 50).sum()))
    assert colours[0] > 0 and colours[1] == 0, "the outline of the rejected lesion is gone"
    series = {picture.SeriesInstanceUID for picture in own}, {picture.SeriesInstanceUID for picture in reviewed}
    assert len(series[0]) == len(series[1]) == 1 and series[0] != series[1], "a PACS keeps both"


def pictures(archive):
    """The images of a Secondary Capture series, in the order of the slices."""
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        return [pydicom.dcmread(io.BytesIO(found.read(name))) for name in sorted(found.namelist())]


def sizes(report):
    """Volume, long and short diameter of each measurement group, by code and unit."""
    units = {"118565006": "mm3", "103339001": "mm", "103340004": "mm"}
    groups = []
    for item in report.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue != "126010":
            continue
        for group in item.ContentSequence:
            values = {}
            for each in group.ContentSequence:
                code = each.ConceptNameCodeSequence[0].CodeValue
                if each.ValueType == "NUM":
                    value = each.MeasuredValueSequence[0]
                    assert value.MeasurementUnitsCodeSequence[0].CodeValue == units[code]
                    assert value.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"
                    values[code] = pytest.approx(float(value.NumericValue), rel=1e-5)
            groups.append(tuple(values[code] for code in units))
    return groups


def test_a_patient_name_reaches_no_log_and_no_key(gateway, files, caplog):
    with caplog.at_level(logging.DEBUG):
        job = done(gateway, files)
        done(gateway, {"x": files[next(iter(files))][:-400]} | files, deidentify=False)
    keys = " ".join(gateway.job_keys())
    assert job in keys
    assert not any(word in caplog.text + keys for word in PLANTED)
    assert not any(word in str(vars(record)) for word in PLANTED for record in caplog.records)
    result = gateway.http.get(f"/v1/jobs/{job}/result").text
    assert not re.search(r"2\.25\.|Mustermann|4711", result)


def test_a_deidentified_study_is_stored_without_its_identity(gateway, files):
    job = done(gateway, files, deidentify=True)
    stored = [gateway.store.get(key) for key in gateway.job_keys() if f"/{job}/" in f"/{key}"]
    assert {key.split("/")[2] for key in gateway.job_keys() if job in key} >= {
        "input",
        "request.json",
        "results",
        "end.json",
    }
    study = pydicom.dcmread(io.BytesIO(next(iter(files.values())))).StudyInstanceUID
    assert not any(word.encode() in content for content in stored for word in (*PLANTED, study))
    with Client(gateway.url) as client:
        segmentation = pydicom.dcmread(io.BytesIO(client.mask(job, "dicom-seg")))
        report = pydicom.dcmread(io.BytesIO(client.structured_report(job)))
    assert segmentation.StudyInstanceUID == report.StudyInstanceUID != study
    assert segmentation.PatientID == report.PatientID
    assert str(segmentation.PatientID).startswith("ANON-")


def test_a_deidentified_study_resent_under_its_key_is_the_same_job(gateway, files):
    with Client(gateway.url) as client:
        sent = [("study.zip", zipped(files))]
        key = uuid.uuid4().hex
        first = client.submit(sent, idempotency_key=key, deidentify=True)
        assert client.submit(sent, idempotency_key=key, deidentify=True).id == first.id


def test_a_study_without_dicom_is_not_deidentified(gateway):
    problem(gateway.submit(png(1), deidentify="true"), 422, "invalid-parameter")
    problem(gateway.submit(png(1), deidentify="maybe"), 422, "invalid-parameter")


def test_a_study_without_dicom_has_no_structured_report(gateway):
    job = gateway.accepted()
    gateway.succeed(job.id, np.eye(32, dtype=bool)[np.newaxis], ("slice_0",))
    assert "DICOM" in problem(gateway.http.get(f"/v1/jobs/{job.id}/structured-report"), 406, "not-available")
    assert "DICOM" in problem(gateway.http.get(f"/v1/jobs/{job.id}/mask?format=rtstruct"), 406, "not-available")
    assert "DICOM" in problem(gateway.http.get(f"/v1/jobs/{job.id}/secondary-capture"), 406, "not-available")

"""DICOM results in other software: a validator of the standard, and a PACS that stores and returns them."""

import email
import io
import json
import shutil
import subprocess
import uuid
import zipfile
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pydicom
import pytest
from tests.dicoms import answered, points, points_of_segmentation, reviewed_results, volume_of
from tests.finished_jobs import made, of_whole_alone, planned
from tests.followed_dicom import dicom_job, followed, report_of
from tests.servers import free_ports, wait_until

from metseg.imaging import label_lesions
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, enhanced_file, study_files
from metseg.results import exports

pytestmark = pytest.mark.dicom_tools

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = "is not installed: apt-get install dicom3tools orthanc orthanc-dicomweb"
START_S = 30.0


@pytest.fixture(scope="module")
def phantom():
    return head(5, slices=20, size_px=64)


@pytest.fixture(scope="module")
def files(phantom):
    return study_files(phantom)


@pytest.fixture(scope="module")
def volume(files):
    return volume_of(files)


@pytest.fixture(scope="module")
def enhanced(phantom):
    """The FLAIR as one enhanced file."""
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    file = enhanced_file(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"], [*range(19, -1, -1)])
    return volume_of({"x": file})


@pytest.fixture(scope="module")
def results(phantom, volume, enhanced):
    """The results of a study: with lesions, without, and for an enhanced file."""
    return {
        "lesions": answered(volume, phantom.mask)[0],
        "one lesion": answered(volume, _largest(phantom.mask))[0],
        "none": answered(volume, np.zeros_like(phantom.mask))[0],
        "enhanced": answered(enhanced, phantom.mask)[0],
        "core and whole": answered(volume, _largest(phantom.mask), phantom.mask)[0],
        "whole alone": answered(volume, np.zeros_like(phantom.mask), phantom.mask)[0],
        "reviewed": reviewed_results(volume, phantom.mask, phantom.mask)[0],
        "all rejected": reviewed_results(volume, np.zeros_like(phantom.mask))[0],
    }


def _largest(mask):
    return label_lesions(mask) == 1


STUDIES = (
    *("lesions", "one lesion", "none", "enhanced", "core and whole", "whole alone"),
    *("reviewed", "all rejected"),
)


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", ["segmentation.dcm", "report.dcm"])
def test_the_validator_finds_no_error(results, study, name, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip(f"dciodvfy {MISSING}")
    path = tmp_path / name
    path.write_bytes(results[study][name])
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Error" not in said, said
    assert {"segmentation.dcm": "Segmentation", "report.dcm": "Comprehensive3DSR"}[name] in said


@pytest.fixture(scope="module")
def jobs(phantom, volume, enhanced):
    """Finished jobs of the same study, and of an enhanced file."""
    return {
        "core and whole": planned(volume, _largest(phantom.mask), phantom.mask),
        "whole alone": of_whole_alone(planned(volume, phantom.mask)),
        "enhanced": planned(enhanced, phantom.mask),
    }


def validate(path):
    """What the validator says, and its errors."""
    if shutil.which("dciodvfy") is None:
        pytest.skip(f"dciodvfy {MISSING}")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    return said, [line for line in said.splitlines() if "Error" in line or "Warning" in line]


@pytest.mark.parametrize(
    ("study", "margin_mm"), [("core and whole", 0), ("core and whole", 3), ("whole alone", 0), ("enhanced", 2)]
)
def test_the_validator_finds_nothing_in_contours(jobs, study, margin_mm, tmp_path):
    path = tmp_path / "structure_set.dcm"
    path.write_bytes(made(exports.find_export("mask", "rtstruct", margin_mm=margin_mm).write, jobs[study]))
    said, faults = validate(path)
    assert not faults, said
    assert "RTStructureSet" in said


@pytest.mark.parametrize("study", ["core and whole", "whole alone", "enhanced"])
def test_the_validator_finds_nothing_in_pictures(jobs, study, tmp_path):
    archive = zipfile.ZipFile(io.BytesIO(made(exports.EXPORTS["secondary-capture"].write, jobs[study])))
    for name in archive.namelist()[::9]:
        said, faults = validate(archive.extract(name, tmp_path))
        assert not faults, said
        assert "SCImage" in said


def test_the_validator_finds_nothing_in_the_report_of_a_follow_up(tmp_path):
    path = tmp_path / "follow-up.dcm"
    path.write_bytes(report_of(followed(dicom_job("one"), dicom_job("two", keep=1))))
    said, faults = validate(path)
    assert not faults, said
    assert "Comprehensive3DSR" in said


def test_a_planning_program_reads_the_lesions_from_the_contours(jobs, phantom, files, tmp_path):
    """Plastimatch, which rasterises contours on the images by itself."""
    program = shutil.which("plastimatch")
    if program is None:
        pytest.skip("plastimatch is not installed: apt-get install plastimatch")
    job = jobs["core and whole"]
    uid = job.volume.origin.headers[0].SeriesInstanceUID
    (tmp_path / "images").mkdir()
    for index, content in enumerate(files.values()):
        if pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True).SeriesInstanceUID == uid:
            (tmp_path / "images" / f"{index}.dcm").write_bytes(content)
    (tmp_path / "rt.dcm").write_bytes(made(exports.EXPORTS["rtstruct"].write, job))
    command = [program, "convert", "--input", "rt.dcm", "--referenced-ct", "images", "--output-prefix", "read"]
    subprocess.run([*command, "--prefix-format", "nii.gz"], cwd=tmp_path, check=True, capture_output=True)
    for name, mask in {"GTV1": job.mask, "FLAIR_abn": phantom.mask}.items():
        read = nibabel.load(tmp_path / "read" / f"{name}.nii.gz")
        found = places(np.asarray(read.dataobj) > 0, read.affine)
        assert found == places(mask.T, job.volume.affine)


def places(mask, affine):
    """The positions of a mask's voxels, to 0.1 mm: a NIfTI affine has 32 bits."""
    return {tuple(np.round(each, 1) + 0.0) for each in points(mask, affine)}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """A client of a separate Orthanc."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None or not PLUGIN.exists():
        pytest.skip(f"Orthanc with DICOMweb {MISSING}")
    folder = tmp_path_factory.mktemp("orthanc")
    http, dicom = free_ports(2)
    settings = {
        "Name": "metseg-test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=30) as client:
            wait_until(lambda: _answers(client), START_S)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _answers(client):
    try:
        return client.get("/system").is_success
    except httpx.TransportError:
        return False


def stow(client, contents):
    """Store by STOW-RS (PS3.18 10.5)."""
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(head + content + b"\r\n" for content in contents) + f"--{boundary}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    return client.post("/dicom-web/studies", content=body, headers=headers)


def wado(client, study, series, instance):
    """Retrieve by WADO-RS (PS3.18 10.4)."""
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    response = client.get(path, headers={"Accept": accept})
    assert response.is_success, response.text
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    [part] = email.message_from_bytes(head + response.content).get_payload()
    return part.get_payload(decode=True)


def test_a_pacs_stores_study_and_results_and_returns_them_unchanged(orthanc, files, results, jobs):
    pictures = zipfile.ZipFile(io.BytesIO(made(exports.EXPORTS["secondary-capture"].write, jobs["core and whole"])))
    contours = made(exports.find_export("mask", "rtstruct", margin_mm=2).write, jobs["core and whole"])
    contents = [*files.values(), *results["lesions"].values(), contours, *map(pictures.read, pictures.namelist())]
    response = stow(orthanc, contents)
    assert response.status_code == 200, response.text
    assert not response.json().get("00081198", {}).get("Value"), "instances were refused"
    sent = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    [study] = {each.StudyInstanceUID for each in sent}
    held = orthanc.get(f"/dicom-web/studies/{study}/instances", headers={"Accept": "application/dicom+json"}).json()
    assert {each["00080018"]["Value"][0] for each in held} == {each.SOPInstanceUID for each in sent}
    for content, each in zip(contents, sent, strict=True):
        back = wado(orthanc, study, each.SeriesInstanceUID, each.SOPInstanceUID)
        assert pydicom.dcmread(io.BytesIO(back)) == each
        if each.Modality == "SEG":
            assert points_of_segmentation(back) == points_of_segmentation(content)


def test_the_pacs_lists_the_results_in_the_original_study(orthanc, files, results):
    stow(orthanc, [*files.values(), *results["lesions"].values()])
    studies = orthanc.get("/dicom-web/studies", headers={"Accept": "application/dicom+json"}).json()
    assert len(studies) == 1
    assert studies[0]["00100020"]["Value"] == ["PHANTOM-1"]
    assert set(studies[0]["00080061"]["Value"]) >= {"MR", "SEG", "SR"}

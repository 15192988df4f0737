"""Studies of a patient find each other by DICOM's identifiers, which nobody can read back from a job."""

import datetime
from dataclasses import replace

import numpy as np
import pytest
from tests.gateways import Gateway, problem, running_alone

from metseg import phantom
from metseg.contracts import Job
from metseg.phantom.dicom import SERIES_PARAMETERS, series_files

SLICES = 8
PATIENT_ID = "HOSPITAL-4711"


@pytest.fixture(scope="module")
def gateway(redis, tmp_path_factory):
    with running_alone(tmp_path_factory.mktemp("site"), redis.database(5)) as gateway:
        yield gateway


def submit(gateway: Gateway, patient_id: str, day: str = "20260105", issuer: str = "", **fields: str) -> Job:
    """Submit a post-contrast series of this patient and day."""
    head = phantom.head(3, slices=SLICES, size_px=64).volume
    extra = {"StudyDate": day, "IssuerOfPatientID": issuer}
    parameters = replace(SERIES_PARAMETERS["post"], patient=("Doe^Jane", patient_id), study=day, extra=extra)
    pixels = head.pixels[..., 2].astype(np.uint16)
    files = [("files", (name, data)) for name, data in series_files(pixels, head.affine, parameters).items()]
    response = gateway.http.post("/v1/jobs", files=files, data=fields)
    assert response.status_code == 202, response.text
    return Job.model_validate(response.json())


def test_two_studies_of_a_patient_have_one_pseudonym_and_their_own_days(gateway):
    first, second = submit(gateway, PATIENT_ID), submit(gateway, PATIENT_ID, "20260406")
    assert first.patient == second.patient
    assert first.patient.startswith("dicom-")
    assert [job.taken_on for job in (first, second)] == [datetime.date(2026, 1, 5), datetime.date(2026, 4, 6)]
    assert gateway.jobs.get(first.id).patient == first.patient


def test_other_patients_and_other_issuers_are_told_apart(gateway):
    jobs = [submit(gateway, PATIENT_ID), submit(gateway, "HOSPITAL-4712"), submit(gateway, PATIENT_ID, issuer="clinic")]
    assert len({job.patient for job in jobs}) == 3


def test_studies_of_two_patients_are_not_compared(gateway):
    jobs = [submit(gateway, PATIENT_ID), submit(gateway, "HOSPITAL-4712", "20260406")]
    mask = np.ones((SLICES, 64, 64), bool)
    for job in jobs:
        gateway.succeed(job.id, mask, tuple(f"s{index}" for index in range(SLICES)))
    response = gateway.http.post("/v1/followups", json={"jobs": [job.id for job in jobs]})
    assert "different patients" in problem(response, 422, "not-comparable")


def test_another_site_makes_another_pseudonym_of_the_same_patient(gateway, redis, tmp_path):
    with running_alone(tmp_path, redis.database(6)) as other:
        assert submit(other, PATIENT_ID).patient != submit(gateway, PATIENT_ID).patient


def test_the_identifier_is_in_no_record_of_the_job(gateway):
    job = submit(gateway, PATIENT_ID)
    records = [key for key in gateway.job_keys() if job.id in key and key.endswith(".json")]
    assert records
    assert not any(b"4711" in gateway.store.get(key) or b"Doe" in gateway.store.get(key) for key in records)
    assert "4711" not in gateway.http.get("/v1/jobs").text


@pytest.mark.parametrize("patient_id", ["", "ANONYMOUS", "000000", "unknown"])
def test_an_identifier_that_many_patients_share_links_none(gateway, patient_id):
    assert submit(gateway, patient_id).patient is None


@pytest.mark.parametrize("day", ["", "20261301", "2026", "20990101"])
def test_a_day_that_cannot_be_is_unknown(gateway, day):
    assert submit(gateway, PATIENT_ID, day).taken_on is None


def test_what_the_submitter_states_is_kept(gateway):
    job = submit(gateway, PATIENT_ID, patient="p-7", taken_on="2026-02-03")
    assert (job.patient, job.taken_on) == ("p-7", datetime.date(2026, 2, 3))


def test_no_pseudonym_and_no_day_are_kept_of_a_study_that_is_to_be_deidentified(gateway):
    job = submit(gateway, PATIENT_ID, deidentify="true")
    assert (job.patient, job.taken_on) == (None, None)


def test_a_study_of_pictures_has_neither(gateway):
    job = gateway.accepted()
    assert (job.patient, job.taken_on) == (None, None)

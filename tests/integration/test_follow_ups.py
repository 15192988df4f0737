"""Follow-ups over REST: who may compare what, and what becomes of it whatever happens to the worker."""

import pytest
from tests.followed import AFTER, BEFORE, A, B, C, finish
from tests.gateways import png, problem

from metseg.contracts import FollowUp, JobPage, JobStatus
from metseg_worker.context import open_context
from metseg_worker.tasks import run_job


@pytest.fixture(scope="module")
def worker(gateway):
    return open_context(gateway.settings)


@pytest.fixture(scope="module")
def visits(gateway):
    """Two visits: one lesion grows, one is gone, one is new."""
    first = finish(gateway, [(A, 12.0), (B, 10.0)], BEFORE, patient="p-7", taken_on="2026-01-05")
    second = finish(gateway, [(A, 18.0), (C, 12.0)], AFTER, patient="p-7", taken_on="2026-04-06")
    return [first.id, second.id]


def _submit(gateway, jobs, **headers):
    return gateway.http.post("/v1/followups", json={"jobs": jobs}, headers=headers)


def _read(gateway, follow_up_id):
    return FollowUp.model_validate(gateway.http.get(f"/v1/followups/{follow_up_id}").raise_for_status().json())


def test_a_follow_up_is_queued_computed_and_read(gateway, worker, visits):
    response = _submit(gateway, visits)
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/v1/followups/{response.json()['id']}"
    queued = FollowUp.model_validate(response.json())
    assert (queued.status, queued.jobs, queued.result) == (JobStatus.QUEUED, visits, None)
    run_job(worker, queued.id)
    done = gateway.http.get(f"/v1/followups/{queued.id}", params={"wait": 5}).json()
    found = FollowUp.model_validate(done)
    assert found.status is JobStatus.SUCCEEDED
    states = [one.measurements[1].state for one in found.result.tracks]
    assert states == ["grown", "gone", "new"]
    assert found.result.studies[1].response.response == "progressive"
    assert [str(one.taken_on) for one in found.result.studies] == ["2026-01-05", "2026-04-06"]


def test_a_second_delivery_changes_nothing_and_a_lost_message_is_queued_again(gateway, worker, visits):
    queued = _submit(gateway, visits).json()["id"]
    gateway.runner.lease(queued)
    gateway.runner.release(queued)
    run_job(worker, queued)
    first = _read(gateway, queued)
    run_job(worker, queued)
    assert _read(gateway, queued) == first


def test_a_follow_up_compares_what_a_reader_left_of_the_answers(gateway, worker, visits):
    last = finish(gateway, [(A, 18.0), (C, 12.0)], AFTER, patient="p-7", taken_on="2026-04-06")
    lesions = gateway.http.get(f"/v1/jobs/{last.id}/result").json()["lesions"]
    decision = {"voxel": lesions[1]["peak"], "decision": "reject"}
    review = gateway.http.put(f"/v1/jobs/{last.id}/review", json={"lesions": [decision]}, headers={"If-Match": '"0"'})
    assert review.status_code == 200, review.text
    queued = _submit(gateway, [visits[0], last.id]).json()["id"]
    run_job(worker, queued)
    assert [one.measurements[1].state for one in _read(gateway, queued).result.tracks] == ["grown", "gone"]


def test_the_report_shows_each_target_at_each_date_and_is_refused_after_a_review(gateway, worker, visits):
    last = finish(gateway, [(A, 18.0), (C, 12.0)], AFTER, patient="p-7", taken_on="2026-04-06")
    queued = _submit(gateway, [visits[0], last.id]).json()["id"]
    path = f"/v1/followups/{queued}/report"
    problem(gateway.http.get(path), 409, "not-finished")
    run_job(worker, queued)
    response = gateway.http.get(path)
    assert response.status_code == 200, response.text
    assert "sandbox" in response.headers["Content-Security-Policy"]
    page = response.text
    assert page.count("data:image/webp") == 4, "two targets at two dates, also where one is gone"
    assert "Progressive disease" in page and "2026-01-05" in page and "p-7" not in page
    sr = gateway.http.get(f"/v1/followups/{queued}/structured-report")
    assert "uploaded as DICOM" in problem(sr, 406, "not-available")
    lesions = gateway.http.get(f"/v1/jobs/{last.id}/result").json()["lesions"]
    decision = {"lesions": [{"voxel": lesions[1]["peak"], "decision": "reject"}]}
    gateway.http.put(f"/v1/jobs/{last.id}/review", json=decision, headers={"If-Match": '"0"'}).raise_for_status()
    assert "Study 2 has been reviewed" in problem(gateway.http.get(path), 412, "reviewed-meanwhile")
    gateway.http.delete(f"/v1/jobs/{last.id}").raise_for_status()
    problem(gateway.http.get(path), 404, "not-found")


def test_a_study_that_is_deleted_meanwhile_fails_the_follow_up_in_words(gateway, worker, visits):
    other = finish(gateway, [(A, 12.0)], BEFORE)
    queued = _submit(gateway, [visits[0], other.id]).json()["id"]
    gateway.http.delete(f"/v1/jobs/{other.id}").raise_for_status()
    run_job(worker, queued)
    found = _read(gateway, queued)
    assert (found.status, found.problem.type) == (JobStatus.FAILED, "/problems/not-found")


def test_what_cannot_be_compared_is_refused_at_once(gateway, visits):
    waiting = gateway.accepted().id
    assert "no results yet" in problem(_submit(gateway, [visits[0], waiting]), 409, "not-finished")
    other = finish(gateway, [(A, 12.0)], BEFORE, patient="p-8").id
    assert "different patients" in problem(_submit(gateway, [visits[0], other]), 422, "not-comparable")
    assert "order of their dates" in problem(_submit(gateway, visits[::-1]), 422, "not-comparable")
    problem(_submit(gateway, visits[:1]), 422, "invalid-parameter")
    problem(_submit(gateway, [visits[0], visits[0]]), 422, "invalid-parameter")
    problem(_submit(gateway, [visits[0], "0" * 32]), 404, "not-found")


def test_a_key_names_one_follow_up(gateway, visits):
    first = _submit(gateway, visits, **{"Idempotency-Key": "may"})
    assert _submit(gateway, visits, **{"Idempotency-Key": "may"}).json()["id"] == first.json()["id"]
    other = finish(gateway, [(A, 12.0)], BEFORE, patient="p-7", taken_on="2026-05-05").id
    problem(_submit(gateway, [*visits, other], **{"Idempotency-Key": "may"}), 409, "idempotency-conflict")


def test_a_follow_up_is_no_job_and_goes_without_its_studies(gateway, visits):
    queued = _submit(gateway, visits).json()["id"]
    page = JobPage.model_validate(gateway.http.get("/v1/jobs", params={"limit": 100}).json())
    assert queued not in {job.id for job in page.jobs}
    problem(gateway.http.get(f"/v1/jobs/{queued}"), 404, "not-found")
    assert gateway.http.get("/v1/jobs", params={"id": [queued]}).json()["jobs"] == []
    problem(gateway.http.get(f"/v1/followups/{visits[0]}"), 404, "not-found")
    problem(_submit(gateway, [visits[0], queued]), 422, "invalid-parameter")
    assert gateway.http.delete(f"/v1/followups/{queued}").status_code == 204
    problem(gateway.http.get(f"/v1/followups/{queued}"), 404, "not-found")
    assert gateway.http.get(f"/v1/jobs/{visits[0]}").status_code == 200


@pytest.mark.parametrize("field", [{"taken_on": "05.01.2026"}, {"taken_on": "2999-01-01"}, {"patient": "x" * 65}])
def test_fields_of_follow_up_are_checked(gateway, field):
    problem(gateway.submit(png(), **field), 422, "invalid-parameter")


def test_patient_and_date_are_part_of_the_job(gateway, visits):
    job = gateway.http.get(f"/v1/jobs/{visits[0]}").json()
    assert (job["patient"], job["taken_on"]) == ("p-7", "2026-01-05")

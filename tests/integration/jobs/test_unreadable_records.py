"""A job with unreadable records affects only itself, and a release reads a newer one's records."""

import json
import time

import pytest
from tests.gateways import begin
from tests.integration.deployments import LEASE_TTL_S, in_a_folder, result_of, submit
from tests.stored_results import put_artefacts

from metseg.contracts import JobStatus
from metseg.errors import NotFound, UnreadableRecord

NAMES = ["open/{}", "jobs/{}/request.json", "jobs/{}/end.json"]
DAMAGE = {"empty": b"", "cut": b'{"id": "', "text": b"\xff\xfe", "list": b"[]", "other fields": b'{"state": 3}'}


def damage(here, job_id, name, content=b'{"id": "'):
    here.store.put(name.format(job_id), content)


@in_a_folder
@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", NAMES)
def test_an_unreadable_record_affects_no_other_job(here, jobs, maintenance, name, content):
    ids = []
    for _ in range(3):
        ids.append(submit(jobs).id)
        time.sleep(0.002)
    damage(here, ids[1], name, content)
    here.redis.flush()
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 2
    assert [jobs.get(job_id).queue_position for job_id in (ids[0], ids[2])] == [1, 2]
    assert [job.id for job in jobs.page(9, None).jobs] == ids[::-1]
    broken = jobs.get(ids[1])
    assert (broken.status, broken.problem.type, broken.files) == (JobStatus.FAILED, UnreadableRecord.type, 1)
    jobs.delete(ids[1])
    with pytest.raises(NotFound):
        jobs.get(ids[1])
    assert here.keys(ids[1]) == []
    assert [job.id for job in jobs.page(9, None).jobs] == [ids[2], ids[0]]


@in_a_folder
@pytest.mark.parametrize("name", NAMES)
def test_a_worker_ignores_an_unreadable_job(here, jobs, worker, other, job, name):
    damage(here, job.id, name)
    assert begin(worker, job.id) is None
    assert jobs.get(job.id).status is JobStatus.FAILED
    assert jobs.queue_status().waiting == 0
    assert begin(other, job.id) is None


@in_a_folder
def test_a_job_without_a_request_is_in_no_list(here, jobs, job, maintenance):
    maintenance.recover()
    here.store.delete(f"jobs/{job.id}/request.json")
    here.client().delete("metseg")
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 0
    assert jobs.page(9, None).jobs == []
    assert jobs.queue_status().waiting == 0


@in_a_folder
def test_an_unreadable_result_is_reported_as_such(here, jobs, worker, job):
    begin(worker, job.id)
    worker.finish(job.id, result_of(job.id), {})
    put_artefacts(jobs, job.id, {"result.json": b"{"})
    with pytest.raises(UnreadableRecord):
        jobs.result(job.id)


@in_a_folder
def test_fields_of_a_newer_release_are_ignored(here, jobs, worker, job):
    for key in (f"open/{job.id}", f"jobs/{job.id}/request.json"):
        here.store.put(key, json.dumps(json.loads(here.store.get(key)) | {"added_later": {"deep": 1}}).encode())
    assert begin(worker, job.id) is not None
    worker.finish(job.id, result_of(job.id), {})
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED


@in_a_folder
def test_a_foreign_message_does_not_stop_recovery(here, jobs, job, maintenance):
    here.client().lpush("metseg", "not a message", json.dumps({"headers": None}), "[]")
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 0


@in_a_folder
def test_a_stray_object_among_the_jobs_stops_neither_recovery_nor_expiry(here, jobs, job, maintenance):
    here.store.put("jobs/lost-found/request.json", b"{}")
    here.store.put("jobs/readme.txt", b"hello")
    here.redis.flush()
    time.sleep(LEASE_TTL_S)
    assert maintenance.recover() == 1
    assert maintenance.expire() == 0


@in_a_folder
def test_a_key_whose_record_is_damaged_is_taken_over(here, jobs):
    here.store.put("keys/key", b"{")
    assert jobs.acquire_key("key", "body", "0" * 32) == "0" * 32

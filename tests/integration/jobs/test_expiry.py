"""When jobs expire, and what a wrong clock must not delete."""

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.deployments import deployment, submit, upload

from metseg.contracts import JobStatus
from metseg.jobs.expiry import CLOCK, MIN_BATCH, QUIET
from metseg.storage import LocalFolderStore

HOUR_S, DAY_S = 3600, 86400


def shift(path, seconds):
    """Make a file and all below it older; a folder store's clock is its files' times."""
    for each in [path, *path.rglob("*")]:
        then = each.stat().st_mtime - seconds
        os.utime(each, (then, then))


@pytest.fixture
def old(tmp_path, redis):
    """A deployment whose clock has long been steady."""
    store = LocalFolderStore(tmp_path / "expiring")
    store.prepare(7)
    with deployment(store, redis) as here:
        here.maintenance().expire()
        store.put(CLOCK, json.dumps({"jumped_at": (datetime.now(UTC) - 2 * QUIET).isoformat()}).encode())
        yield here


def age(here, job_id, days):
    shift(here.store._root / "jobs" / job_id, days * DAY_S)


def an_hour_later(here):
    shift(here.store._root / "maintenance", HOUR_S + 1)


def all_ids(here):
    return {info.key.split("/")[1] for info in here.store.list("jobs/")}


def refused(here):
    return here.service().metrics().counters.get(("expiry_refused", ""), 0)


def test_an_expired_job_is_marked_and_deleted_an_hour_later(old):
    jobs, maintenance = old.service(), old.maintenance()
    kept, expired = submit(jobs), submit(jobs)
    age(old, kept.id, 6.9)
    age(old, expired.id, 7.1)
    assert maintenance.expire() == maintenance.expire() == 0
    assert jobs.get(expired.id).status is JobStatus.QUEUED
    an_hour_later(old)
    assert maintenance.expire() == 1
    assert [job.id for job in jobs.page(9, None).jobs] == [kept.id]
    assert old.keys(expired.id) == []
    assert [info.key for info in old.store.list("maintenance/")] == [CLOCK]
    assert refused(old) == 0


def test_an_abandoned_upload_is_deleted_after_a_day(old):
    jobs, maintenance = old.service(), old.maintenance()
    abandoned, under_way = upload(jobs), upload(jobs)
    age(old, abandoned.id, 1.1)
    age(old, under_way.id, 0.9)
    maintenance.expire()
    an_hour_later(old)
    assert maintenance.expire() == 1
    assert (old.keys(abandoned.id), old.keys(under_way.id)) == ([], ["input/0000", "job.json"])


def test_no_recent_job_expires(old):
    job = submit(old.service())
    for _ in range(3):
        assert old.maintenance().expire() == 0
        an_hour_later(old)
    assert old.service().get(job.id) == job


def test_a_clock_eight_days_ahead_deletes_nothing_for_a_day_and_is_reported(old):
    ids = {submit(old.service()).id for _ in range(3)}
    shift(old.store._root, 8 * DAY_S)  # the store's clock jumps by eight days
    for _ in range(6):
        assert old.maintenance().expire() == 0
        an_hour_later(old)
    assert all_ids(old) == ids
    assert refused(old) == 18


def test_tombstones_set_by_a_wrong_clock_do_not_count(old):
    job = submit(old.service())
    age(old, job.id, 7.1)
    old.maintenance().expire()
    shift(old.store._root, 8 * DAY_S)
    old.maintenance().expire()
    assert [info.key for info in old.store.list("maintenance/")] == [CLOCK]
    assert all_ids(old) == {job.id}


def test_an_unexpired_job_loses_its_tombstone(old):
    job = submit(old.service())
    age(old, job.id, 7.1)
    old.maintenance().expire()
    age(old, job.id, -1)
    an_hour_later(old)
    assert old.maintenance().expire() == 0
    assert [info.key for info in old.store.list("maintenance/")] == [CLOCK]


def test_only_a_share_of_jobs_expires_at_once(old):
    jobs = old.service()
    ids = []
    for number in range(2 * MIN_BATCH):
        ids.append(submit(jobs).id)
        age(old, ids[-1], 8 - number / 100)
    old.maintenance().expire()
    an_hour_later(old)
    assert old.maintenance().expire() == MIN_BATCH
    assert all_ids(old) == set(ids[MIN_BATCH:])
    assert refused(old) == 2 * MIN_BATCH


@pytest.mark.parametrize("hours", [-192, 192])
def test_a_workers_wrong_clock_expires_nothing(old, monkeypatch, hours):
    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("metseg.jobs.expiry.datetime", Wrong)
    monkeypatch.setattr("metseg.jobs.maintenance.datetime", Wrong)
    old.store.put("keys/young", b"{}")
    young, expired = submit(old.service()), submit(old.service())
    age(old, expired.id, 7.1)
    for _ in range(2):
        assert old.maintenance().expire() == 0
        an_hour_later(old)
    assert all_ids(old) == {young.id, expired.id}
    assert old.store.get("keys/young")


def test_on_any_store_nothing_expires_before_its_clock_is_known(here, jobs, job, maintenance):
    assert maintenance.expire() == maintenance.expire() == 0
    assert jobs.get(job.id) == job
    assert abs(here.store.stat(CLOCK).modified.timestamp() - time.time()) < HOUR_S

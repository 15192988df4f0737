"""When jobs expire, and what a wrong clock must not delete."""

import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.deployments import DAY_S, deployment, submit, upload

from metseg.contracts import JobStatus
from metseg.errors import NotFound, StoreUnavailable
from metseg.jobs.expiry import CLOCK, MIN_BATCH, QUIET, TOMBSTONES
from metseg.jobs.idempotency import IdempotencyKeys
from metseg.jobs.listing import JobListing
from metseg.jobs.store import JobStore
from metseg.storage import LocalFolderStore

HOUR_S = 3600


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
    for top in (here.store._root / "jobs" / job_id, here.store._root / "open" / job_id):
        if top.exists():
            shift(top, days * DAY_S)


def submit_before(here, days):
    """A job that was submitted some days ago, and has not changed since."""
    job = submit(here.service(), days)
    age(here, job.id, days)
    return job


def an_hour_later(here):
    """Move the last pass, and the tombstones that it made, an hour back."""
    shift(here.store._root / "maintenance", HOUR_S + 1)
    with suppress(NotFound):
        marked = json.loads(here.store.get(TOMBSTONES))["marked_at"]
        earlier = {each: str(datetime.fromisoformat(at) - timedelta(seconds=HOUR_S + 1)) for each, at in marked.items()}
        here.store.put(TOMBSTONES, json.dumps({"marked_at": earlier}).encode())


def all_ids(here):
    return {info.key.split("/")[1] for info in here.store.list("jobs/")}


def refused(here):
    return here.service().metrics().counters.get(("expiry_refused", ""), 0)


def test_an_expired_job_is_marked_and_deleted_an_hour_later(old):
    jobs, maintenance = old.service(), old.maintenance()
    kept, expired = submit_before(old, 6.9), submit_before(old, 7.1)
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
    assert (old.keys(abandoned.id), old.keys(under_way.id)) == ([], ["input/0000", "open/ID"])


def test_the_lock_is_renewed_while_open_jobs_are_looked_at(old):
    """Otherwise a second worker would begin the same expiry where many jobs are open."""
    for _ in range(4):
        age(old, upload(old.service()).id, 1.1)
    renewals: list[float] = []
    listing = JobListing(old.store, JobStore(old.store))
    found = listing.expired(7, datetime.now(UTC), lambda: renewals.append(time.monotonic()))
    assert len(found) == 4 and len(renewals) > 4


def test_no_recent_job_expires(old):
    job = submit(old.service())
    for _ in range(3):
        assert old.maintenance().expire() == 0
        an_hour_later(old)
    assert old.service().get(job.id) == job


def test_a_clock_eight_days_ahead_deletes_nothing_for_a_day_and_is_reported(old):
    ids = {submit(old.service(), days_ago=8).id for _ in range(3)}
    shift(old.store._root, 8 * DAY_S)  # the store's clock jumps by eight days
    for _ in range(6):
        assert old.maintenance().expire() == 0
        an_hour_later(old)
    assert all_ids(old) == ids
    assert refused(old) == 18


def test_tombstones_set_by_a_wrong_clock_do_not_count(old):
    job = submit_before(old, 7.1)
    old.maintenance().expire()
    shift(old.store._root, 8 * DAY_S)
    old.maintenance().expire()
    assert [info.key for info in old.store.list("maintenance/")] == [CLOCK]
    assert all_ids(old) == {job.id}


def test_an_unexpired_job_loses_its_tombstone(old):
    job = submit_before(old, 7.1)
    old.maintenance().expire()
    age(old, job.id, -1)
    an_hour_later(old)
    assert old.maintenance().expire() == 0
    assert [info.key for info in old.store.list("maintenance/")] == [CLOCK]


def test_only_a_share_of_jobs_expires_at_once(old):
    ids = [submit_before(old, 8 - number / 100).id for number in range(2 * MIN_BATCH)]
    old.maintenance().expire()
    an_hour_later(old)
    assert old.maintenance().expire() == MIN_BATCH
    assert all_ids(old) == set(ids[MIN_BATCH:])
    assert refused(old) == 2 * MIN_BATCH


def test_a_review_extends_a_jobs_life(old):
    reviewed, expired = submit_before(old, 7.2), submit_before(old, 7.1)
    old.store.put(f"jobs/{reviewed.id}/reviews/000001", b"{}")
    old.maintenance().expire()
    an_hour_later(old)
    assert old.maintenance().expire() == 1
    assert all_ids(old) == {reviewed.id}
    assert old.keys(expired.id) == []


def test_what_a_crashed_delete_left_is_erased_after_a_day(old):
    job = submit(old.service())

    class Crashes:
        def __getattr__(self, name):
            return getattr(old.store, name)

        def delete(self, prefix):
            if prefix == f"jobs/{job.id}":
                raise KeyboardInterrupt
            old.store.delete(prefix)

    with pytest.raises(KeyboardInterrupt):
        old.service(Crashes()).delete(job.id)
    assert old.service().page(9, None).jobs == []
    age(old, job.id, 1.1)
    old.maintenance().expire()
    an_hour_later(old)
    assert old.maintenance().expire() == 1
    assert old.keys(job.id) == []


def test_a_job_that_the_store_cannot_delete_keeps_no_other_from_expiring(old):
    stuck, expired = submit_before(old, 7.2), submit_before(old, 7.1)

    class Refuses:
        def __getattr__(self, name):
            return getattr(old.store, name)

        def remove(self, keys):
            if any(stuck.id in key for key in keys):
                raise StoreUnavailable("refused")
            old.store.remove(keys)

    old.maintenance().expire()
    an_hour_later(old)
    assert old.maintenance(Refuses()).expire() == 1
    assert all_ids(old) == {stuck.id}
    an_hour_later(old)
    old.maintenance().expire()  # it is marked again
    an_hour_later(old)
    assert old.maintenance().expire() == 1
    assert old.keys(expired.id) == old.keys(stuck.id) == []


def test_keys_expire_within_a_day_of_their_end(old):
    for digit in "0123456789abcdef":
        old.store.put(f"keys/{digit}a", b"{}")
    shift(old.store._root / "keys", 4 * DAY_S)
    old.store.put("keys/0b", b"{}")
    keys = IdempotencyKeys(old.store, None, None)
    for hour in range(16):
        keys.expire(datetime.now(UTC).replace(hour=hour))
    assert [info.key for info in old.store.list("keys/")] == ["keys/0b"]


@pytest.mark.parametrize("hours", [-192, 192])
def test_a_workers_wrong_clock_expires_nothing(old, monkeypatch, hours):
    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("metseg.jobs.expiry.datetime", Wrong)
    monkeypatch.setattr("metseg.jobs.maintenance.datetime", Wrong)
    old.store.put("keys/young", b"{}")
    young, expired = submit(old.service()), submit_before(old, 7.1)
    for _ in range(2):
        assert old.maintenance().expire() == 0
        an_hour_later(old)
    assert all_ids(old) == {young.id, expired.id}
    assert old.store.get("keys/young")


def test_on_any_store_nothing_expires_before_its_clock_is_known(here, jobs, job, maintenance):
    assert maintenance.expire() == maintenance.expire() == 0
    assert jobs.get(job.id) == job
    assert abs(here.store.stat(CLOCK).modified.timestamp() - time.time()) < HOUR_S

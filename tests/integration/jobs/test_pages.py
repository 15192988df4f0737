"""Pages of jobs."""

import threading
import time

import pytest
from tests.integration.deployments import in_a_folder, submit, upload

from metseg.errors import StoreUnavailable
from metseg.jobs import JobIndex, owner_tag


def walk(jobs, limit):
    cursor, pages = None, []
    while True:
        page = jobs.page(limit, cursor)
        pages.append([job.id for job in page.jobs])
        if page.next is None:
            return pages
        cursor = page.next


@pytest.fixture
def five(here, jobs):
    ids = []
    for _ in range(5):
        ids.append(submit(jobs).id)
        time.sleep(0.002)
    return ids[::-1]


def test_pages_hold_every_job_once_newest_first(jobs, five):
    assert walk(jobs, 2) == [five[0:2], five[2:4], five[4:5]]
    assert walk(jobs, 5) == [five]
    assert walk(jobs, 9) == [five]


@in_a_folder
def test_a_page_continues_where_its_job_was_deleted(here, jobs, five):
    first = jobs.page(2, None)
    jobs.delete(five[1])
    assert [job.id for job in jobs.page(2, first.next).jobs] == five[2:4]


@in_a_folder
def test_new_jobs_do_not_shift_later_pages(here, jobs, five):
    first = jobs.page(2, None)
    submit(jobs)
    assert [job.id for job in jobs.page(2, first.next).jobs] == five[2:4]


def test_expired_jobs_are_left_out_without_shortening_the_page(here, jobs, five, maintenance):
    maintenance.recover()
    for job_id in five[1:3]:
        for top in ("jobs", "open"):
            here.store.delete(f"{top}/{job_id}")
    page = jobs.page(2, None)
    assert [job.id for job in page.jobs] == [five[0], five[3]]
    assert page.next == five[3]
    assert not set(here.client().zrange("metseg:index", 0, -1)) & set(five[1:3])


def test_a_page_is_complete_after_a_redis_flush(here, jobs, five):
    assert walk(jobs, 9) == [five]
    here.redis.flush()
    newest = submit(jobs).id
    assert walk(here.service(), 4) == [[newest, *five[:3]], five[3:]]


def test_pages_come_from_the_store_with_redis_down(here, jobs, five):
    old = [submit(jobs, days_ago).id for days_ago in (0.1, 3, 400)]
    with here.redis.down():
        assert walk(jobs, 2) == [five[0:2], five[2:4], [five[4], old[0]], old[1:]]


@in_a_folder
def test_an_owners_page_comes_from_the_store_with_redis_down(here, jobs, five):
    owner = owner_tag("radiology")
    mine = [jobs.submit(upload(jobs, days_ago=days_ago, owner=owner)).id for days_ago in (0, 3)]
    with here.redis.down():
        assert [job.id for job in jobs.page(9, None, owner).jobs] == mine


@in_a_folder
def test_without_redis_no_page_lists_the_whole_store(here, jobs, five, monkeypatch):
    monkeypatch.setattr("metseg.jobs.listing.LISTED_AT_ONCE", 3)
    monkeypatch.setattr("metseg.jobs.listing.MAX_LISTS", 3)
    with here.redis.down(), pytest.raises(StoreUnavailable, match="queue"):
        jobs.page(5, None)


@in_a_folder
def test_a_busy_span_of_time_is_listed_in_parts(here, jobs, five, monkeypatch):
    monkeypatch.setattr("metseg.jobs.listing.LISTED_AT_ONCE", 3)
    with here.redis.down():
        assert walk(jobs, 2) == [five[0:2], five[2:4], five[4:5]]


@in_a_folder
def test_the_jobs_of_a_page_are_read_at_the_same_time(here, jobs, five):
    everyone = threading.Barrier(len(five), timeout=60)

    class Together:
        def __getattr__(self, name):
            return getattr(here.store, name)

        def get(self, key):
            if key.endswith("end.json"):
                everyone.wait()
            return here.store.get(key)

    assert walk(here.service(Together()), 9) == [five]


@in_a_folder
def test_an_index_that_was_lost_is_rebuilt_in_parts(here, jobs, five, monkeypatch):
    maintenance = here.maintenance(lease_ttl_s=3600)  # so recent a job is not queued again, which would index it
    monkeypatch.setattr("metseg.jobs.maintenance.INDEXED_AT_ONCE", 1)
    monkeypatch.setattr("metseg.jobs.maintenance.MAX_INDEXED", 2)
    here.redis.flush()
    for indexed in (2, 4, 5):
        maintenance.recover()
        assert here.client().zcard("metseg:index") == indexed
        assert walk(jobs, 9) == [five]
    assert here.client().exists("metseg:index-complete") == 1


@in_a_folder
def test_an_index_that_is_lost_while_it_is_rebuilt_is_not_complete(here, jobs, five, monkeypatch):
    maintenance = here.maintenance(lease_ttl_s=3600)
    monkeypatch.setattr("metseg.jobs.maintenance.INDEXED_AT_ONCE", 1)
    monkeypatch.setattr("metseg.jobs.maintenance.MAX_INDEXED", 2)
    here.redis.flush()
    maintenance.recover()
    add = JobIndex.add

    def lost_first(index, *arguments):
        here.redis.flush()
        return add(index, *arguments)

    monkeypatch.setattr(JobIndex, "add", lost_first)
    maintenance.recover()
    monkeypatch.setattr(JobIndex, "add", add)
    assert here.client().exists("metseg:index-complete") == 0
    for _ in range(3):
        maintenance.recover()
    assert here.client().zcard("metseg:index") == 5
    assert here.client().exists("metseg:index-complete") == 1


@in_a_folder
def test_a_job_that_a_crashed_redis_forgot_is_listed_again(here, jobs, five, maintenance):
    maintenance.recover()
    here.client().zrem("metseg:index", five[0])
    here.client().delete("metseg:scanned")  # ten minutes later
    maintenance.recover()
    assert walk(jobs, 9) == [five]


@in_a_folder
def test_an_unsubmitted_upload_is_on_no_page(here, jobs):
    upload(jobs)
    assert jobs.page(9, None).jobs == []
    with here.redis.down():
        assert jobs.page(9, None).jobs == []

"""Pages of jobs."""

import time

import pytest
from tests.integration.deployments import in_a_folder, submit, upload


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


def test_expired_jobs_are_left_out_without_shortening_the_page(here, jobs, five):
    for job_id in five[1:3]:
        here.store.delete(f"jobs/{job_id}")
    page = jobs.page(2, None)
    assert [job.id for job in page.jobs] == [five[0], five[3]]
    assert page.next == five[3]
    assert here.client().zcard("metseg:index") == 3


def test_a_page_is_complete_after_a_redis_flush(here, jobs, five):
    assert walk(jobs, 9) == [five]
    here.redis.flush()
    newest = submit(jobs).id
    assert walk(here.service(), 4) == [[newest, *five[:3]], five[3:]]


@in_a_folder
def test_pages_come_from_the_store_with_redis_down(here, jobs, five):
    with here.redis.down():
        assert walk(jobs, 2) == [five[0:2], five[2:4], five[4:5]]


@in_a_folder
def test_an_unsubmitted_upload_is_on_no_page(here, jobs):
    upload(jobs)
    assert jobs.page(9, None).jobs == []
    with here.redis.down():
        assert jobs.page(9, None).jobs == []

"""A store that refuses deletes, or is another store, changes nothing that is known about jobs."""

from contextlib import suppress

import pytest
from tests.gateways import begin
from tests.integration.deployments import in_a_folder, submit

from metseg.contracts import JobStatus
from metseg.errors import StoreUnavailable


class ReadOnly:
    """A store on a read-only disk."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def delete(self, prefix):
        raise StoreUnavailable("The store's folder cannot be used; is the disk full?")


@in_a_folder
@pytest.mark.parametrize("running", [False, True], ids=["queued", "running"])
def test_a_refused_delete_does_not_cancel_the_job(here, jobs, worker, job, running):
    if running:
        begin(worker, job.id)
    with pytest.raises(StoreUnavailable):
        here.service(ReadOnly(here.store)).delete(job.id)
    if running:
        worker.report_progress(job.id, 1, 2)
    else:
        assert begin(worker, job.id) is not None
    assert jobs.get(job.id).status is JobStatus.RUNNING


@in_a_folder
def test_an_empty_folder_is_not_mistaken_for_the_store(here, jobs, job, maintenance):
    root = here.store._root
    away = root.with_name("away")
    root.rename(away)
    root.mkdir()
    for call in (
        lambda: jobs.get(job.id),
        lambda: jobs.page(9, None),
        lambda: jobs.delete(job.id),
        lambda: submit(jobs),
        lambda: here.runner().lease(job.id),
        maintenance.recover,
        maintenance.expire,
        here.store.check,
    ):
        with pytest.raises(StoreUnavailable, match="mounted"):
            call()
    assert list(root.iterdir()) == []
    root.rmdir()
    away.rename(root)
    assert [each.id for each in jobs.page(9, None).jobs] == [job.id]
    assert here.client().zcard("metseg:index") == 1


def test_an_empty_bucket_is_not_mistaken_for_the_store(here, jobs, job, maintenance):
    kept = {info.key: here.store.get(info.key) for info in here.store.list("")}
    for key in sorted(kept):  # like a new volume under the same name
        with suppress(StoreUnavailable):  # the folder's answer once its marker is gone
            here.store.delete(key)
    for call in (lambda: jobs.get(job.id), lambda: jobs.delete(job.id), maintenance.recover):
        with pytest.raises(StoreUnavailable, match="set-up"):
            call()
    assert here.client().zcard("metseg:index") == 1
    here.store.prepare(7)
    for key, content in kept.items():
        here.store.put(key, content)
    assert jobs.get(job.id) == job

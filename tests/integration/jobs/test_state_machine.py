"""In any order of events, every accepted job ends once, and nothing of a deleted one returns."""

import contextlib
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule, run_state_machine_as_test
from tests.gateways import begin
from tests.integration.deployments import deployment, kill, result_of, submit

from metseg.contracts import JobStatus, Problem
from metseg.errors import BadInput, Cancelled, NotFound
from metseg.storage import LocalFolderStore

TTL_S = 0.1
PROBLEM = Problem.of(BadInput("It cannot be read."))


class Counting(LocalFolderStore):
    """A folder store that counts how often each job was ended with a result."""

    def __init__(self, root):
        super().__init__(root)
        self.results = Counter()

    def create(self, key, data, **kwargs):
        created = super().create(key, data, **kwargs)
        if created and b'"succeeded"' in data:
            self.results[key.split("/")[1]] += 1
        return created


class Life(RuleBasedStateMachine):
    """Clients, two workers, late and duplicate messages, crashes, and a Redis that is flushed."""

    server = None
    ids = Bundle("ids")
    messages = Bundle("messages")
    workers = st.integers(0, 1)

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.store = Counting(Path(folder))
        self.store.prepare(job_days=1)
        self.here = self.stack.enter_context(deployment(self.store, self.server))
        self.gateway = self.here.service(lease_ttl_s=TTL_S)
        self.maintenance = self.here.maintenance(lease_ttl_s=TTL_S)
        self.crew = [self.here.runner(lease_ttl_s=TTL_S) for _ in range(2)]
        self.running = [None, None]
        self.living = set()
        self.deleted = set()
        self.redis = self.here.client()

    def deliver(self):
        message = self.redis.rpop("metseg")
        return json.loads(message)["headers"]["id"] if message else None

    def attempt(self, worker, job_id):
        """A worker processes one job at a time."""
        if self.running[worker] is None and begin(self.crew[worker], job_id) is not None:
            self.running[worker] = job_id

    @rule(target=ids)
    def submit(self):
        job = submit(self.gateway)
        self.living.add(job.id)
        return job.id

    @rule(target=messages, worker=workers)
    def work(self, worker):
        job_id = self.deliver()
        if job_id is None:
            return multiple()
        self.attempt(worker, job_id)
        return job_id

    @rule(job_id=messages, worker=workers)
    def deliver_again(self, job_id, worker):
        self.attempt(worker, job_id)

    @rule(worker=workers)
    def advance(self, worker):
        if self.running[worker]:
            try:
                self.crew[worker].report_progress(self.running[worker], 1, 2)
            except Cancelled:
                self.running[worker] = None

    @rule(worker=workers, well=st.booleans())
    def end(self, worker, well):
        job_id, self.running[worker] = self.running[worker], None
        if job_id and well:
            self.crew[worker].finish(job_id, result_of(job_id), {"mask.nii.gz": b"mask"})
        elif job_id:
            self.crew[worker].fail(job_id, PROBLEM)

    @rule(worker=workers)
    def die(self, worker):
        kill(self.crew[worker])
        self.running[worker] = None

    @rule(job_id=consumes(ids))
    def delete(self, job_id):
        self.gateway.delete(job_id)
        self.living.discard(job_id)
        self.deleted.add(job_id)

    @rule()
    def redis_forgets(self):
        self.here.redis.flush()

    @rule()
    def recover(self):
        self.maintenance.recover()

    def teardown(self):
        try:
            self.drain()
            self.check()
        finally:
            self.stack.close()

    def drain(self):
        """The work of a live worker, until nothing is left."""
        for worker in range(2):
            self.end(worker, well=True)
        deadline = time.monotonic() + 20
        while any(not self.gateway.get(job_id).status.final for job_id in self.living):
            assert time.monotonic() < deadline, "a job is lost"
            time.sleep(TTL_S)
            self.maintenance.recover()
            while job_id := self.deliver():
                self.attempt(0, job_id)
                self.end(0, well=True)

    def check(self):
        for job_id in self.living:
            succeeded = self.gateway.get(job_id).status is JobStatus.SUCCEEDED
            assert self.store.results[job_id] == succeeded
            if succeeded:
                assert self.gateway.result(job_id) == result_of(job_id)
        for job_id in self.deleted:
            assert self.here.keys(job_id) == []
            with pytest.raises(NotFound):
                self.gateway.get(job_id)
        assert {job.id for job in self.gateway.page(1000, None).jobs} == self.living
        assert self.gateway.queue_status().waiting == 0


def test_every_accepted_job_ends_exactly_once(redis):
    class Here(Life):
        server = redis

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )

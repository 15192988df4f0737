"""An open load: studies come at random (Poisson), whether or not earlier ones are done. Run by `tests.bench.latency`.

One user draws the pauses and does not wait for its studies, so that a slow deployment delays no arrival. The outcome of
each is written as a line of JSON, in the order of their ends, to the file named by BENCH_TOOK.
"""

import json
import os
import random
import time
import uuid
from datetime import datetime
from pathlib import Path

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task

STUDY = Path(os.environ["BENCH_STUDY"])
TOOK = Path(os.environ["BENCH_TOOK"])
RATE = float(os.environ["BENCH_RATE"])
LIMIT_S = 600.0


class Hospital(FastHttpUser):
    """Sends studies at a mean rate."""

    concurrency = 512
    connection_timeout = network_timeout = LIMIT_S

    def on_start(self) -> None:
        """Start without open studies."""
        self._content, self._drawn = STUDY.read_bytes(), random.Random(0)
        self._began, self._open = time.time(), Pool()

    @task
    def arrive(self) -> None:
        """Submit a study, then pause until the next."""
        self._open.spawn(self._study, time.time(), len(self._open))
        gevent.sleep(self._drawn.expovariate(RATE))

    def on_stop(self) -> None:
        """Wait for the open studies."""
        self._open.join(LIMIT_S)

    def _study(self, came: float, found_open: int) -> None:
        """Run one study, from the submission to its result."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        with self.rest("POST", "/v1/jobs", files={"files": ("study.zip", self._content)}, headers=headers) as answer:
            job, accepted = answer.js, time.time()
        while job["status"] in ("queued", "running"):
            with self.rest("GET", f"/v1/jobs/{job['id']}?wait=30", name="/v1/jobs/ID?wait=30") as answer:
                job = answer.js
        with self.rest("GET", f"/v1/jobs/{job['id']}/result", name="/v1/jobs/ID/result") as answer:
            ended, busy_s = time.time(), sum(answer.js["durations_s"].values())
        began = datetime.fromisoformat(job["started_at"]).timestamp()
        line = {"came_s": came - self._began, "took_s": ended - came, "before_s": accepted - came}
        line |= {"began_s": began - self._began, "busy_s": busy_s, "after_s": ended - began - busy_s}
        line |= {"open": found_open, "status": job["status"]}
        with TOOK.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

"""How costs grow: of a slice with the number of slices, of requests with the number of stored jobs.

make bench ARGS="--only growth"
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import redis
from tests.bench import page
from tests.bench.studies import archive
from tests.bench.whole import Whole
from tests.gateways import Gateway, png, promote_tiny, running
from tests.servers import RedisServer, redis_server

from metseg.contracts import InputFile, Job, JobStatus, Request
from metseg.jobs import JobIndex, JobService, RedisConnection, new_job_id
from metseg.settings import Settings

COUNTS = (10, 100_000)
SLICES = (1, 30, 155, 1000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both."""
    parser = argparse.ArgumentParser("bench_growth", description=__doc__)
    parser.add_argument("--only", nargs="+", default=["growth"])
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    options, _ = parser.parse_known_args(arguments)
    if "growth" not in options.only:
        return
    on = page.machine()
    slices = _slices(options.rounds)
    requests = _requests(20 * options.rounds)
    cells = [
        [
            f"CPU of a slice, {count} in a study, ms",
            page.spread(took, 2),
            f"{median(took) / median(slices[30]):.2f} of that at 30",
        ]
        for count, took in slices.items()
    ]
    few, many = COUNTS
    for what in requests[few]:
        ratio = median(requests[many][what]) / median(requests[few][what])
        for count in COUNTS:
            relative = f"{ratio:.2f} of that at {few}" if count == many else ""
            cells.append([f"{what}, {count:,} jobs stored, ms", page.spread(requests[count][what], 1), relative])
    notes = [
        "A slice of 240x240 from the upload to the artefacts, CPU time of the process. Requests go to two gateways in "
        f"turn, each with a Redis and a folder as its store: one with {few} jobs, one with {many:,}."
    ]
    figures = {"slice_cpu_ms": slices, "request_ms": requests}
    page.keep("growth", on, {"head": ["", "median (least to most)", ""], "cells": cells, "notes": notes}, figures)


def _slices(rounds: int) -> dict[int, list[float]]:
    """CPU milliseconds per slice."""
    took: dict[int, list[float]] = {count: [] for count in SLICES}
    with tempfile.TemporaryDirectory() as folder:
        whole = Whole(Path(folder))
        studies = {count: whole.upload([("study.zip", archive(count, 240))]) for count in SLICES}
        for turn in range(max(1, rounds // 2) + 1):
            for count, study in studies.items():
                if turn == 0 and count == max(SLICES):  # too long to be discarded
                    continue
                began = time.process_time()
                whole(study)
                if turn:
                    took[count].append(1000 * (time.process_time() - began) / count)
    return took


def _requests(rounds: int) -> dict[int, dict[str, list[float]]]:
    """Milliseconds of each kind of request, with few and with many jobs stored."""
    times: dict[int, dict[str, list[float]]] = {count: {} for count in COUNTS}
    with contextlib.ExitStack() as stack:
        places = {count: stack.enter_context(_filled(count)) for count in COUNTS}
        for _ in range(rounds):
            for count, (gateway, known) in places.items():
                for what, ask in _asked(gateway, known).items():
                    began = time.perf_counter()
                    ask()
                    times[count].setdefault(what, []).append(1000 * (time.perf_counter() - began))
    return times


def _asked(gateway: Gateway, known: str) -> dict[str, Callable[[], object]]:
    return {
        "submit": lambda: gateway.submit(png()).raise_for_status(),
        "status": lambda: gateway.http.get(f"/v1/jobs/{known}").raise_for_status(),
        "list of 20": lambda: gateway.http.get("/v1/jobs").raise_for_status(),
    }


@contextlib.contextmanager
def _filled(count: int) -> Iterator[tuple[Gateway, str]]:
    """A gateway on a store with `count` finished jobs, and the id of one of them."""
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as server:
        folder = Path(name) / "store"
        limits = {"queue_limit": 10**6, "key_jobs_per_minute": 10**6, "key_open_jobs": 10**6}
        with running(Settings(store_directory=folder, redis_url=server.url, **limits)) as gateway:
            promote_tiny(gateway.store)
            ids = [_stored(folder, gateway.jobs) for _ in range(count)]
            _index(server, ids)
            yield gateway, ids[count // 2]


def _stored(folder: Path, jobs: JobService) -> str:
    """A job that succeeded, written as the store does, but without atomic writes."""
    now, job_id = datetime.now(UTC), new_job_id()
    file = InputFile(key=jobs.input_key(job_id, 0), name="x.png", size_bytes=1, sha256="0" * 64)
    job = Job(id=job_id, status=JobStatus.SUCCEEDED, created_at=now, finished_at=now, files=1)
    place = folder / "jobs" / job_id
    place.mkdir(parents=True)
    (place / "end.json").write_text(json.dumps({"job": job.model_dump(mode="json")}))
    (place / "request.json").write_text(Request(id=job_id, created_at=now, inputs=[file]).model_dump_json())
    return job_id


def _index(server: RedisServer, ids: Sequence[str]) -> None:
    with redis.Redis.from_url(server.url) as client:
        index = JobIndex(RedisConnection(client))
        index.add(ids, "")
        index.mark_complete()


if __name__ == "__main__":
    main()

"""Workers on other hosts: jobs per second by latency, a host that is cut off for a while, and one that dies.

    python -m tests.bench.bench_hosts [--write docs/scaling.md]

Needs root: the hosts are network namespaces of this machine (`tests.bench.hosts`), so they share its CPUs. Gateway,
Redis and store are on one host, a worker on each other one. Every job that was accepted is checked at the end.
"""

import argparse
import gzip
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench import page
from tests.bench.hosts import Attempt, Central, Host, deployment
from tests.bench.studies import SLICES, study_file
from tests.bench.system import AT_ONCE, JOBS, at_once
from tests.markdown_tables import replace_block, rows
from tests.servers import wait_until

from metseg.client import Client
from metseg.contracts import Job, JobStatus
from metseg.errors import NotFound
from metseg.storage import S3Store

__all__ = ["Checked", "Outcome", "checked"]

LATENCIES_S = (0.0, 0.001, 0.02)
LAN_S = 0.001
QUEUED = 60
CUT_S = 30.0
LATE_S = 20.0
"""After the last end: a host given back could still write what it computed before."""
MAX_WAIT_S = 400.0
MASK = "mask.nii.gz"


class Checked(NamedTuple):
    """An accepted job after all ends.

    Attributes:
        status: as its client sees it.
        finished_at: the time of its end; None where it has none.
        ends: 1; more if its end changed later or the store has results of several attempts.
        intact: whether each artefact is the one that its end names, and the mask that of every other job.
    """

    status: JobStatus
    finished_at: float | None
    ends: int
    intact: bool


class Outcome(NamedTuple):
    """A queue of jobs while something happened to a host; seconds count from that moment.

    Attributes:
        jobs: all that were answered with 202.
        held: how many of these the host worked on at that moment.
        queued_again_s: until the first of these was queued again.
        taken_over_s: until another host began the first of these.
        done_s: until the last job ended.
        worked_again_s: from when the host was given back until it began a job; None if it was not given back.
        jobs_again: jobs that it began and ended after that.
    """

    jobs: list[Checked]
    held: int
    queued_again_s: float
    taken_over_s: float
    done_s: float
    worked_again_s: float | None
    jobs_again: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser("bench_hosts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each row (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="the page whose tables are renewed")
    options = parser.parse_args(arguments)
    on = page.machine()
    with tempfile.TemporaryDirectory(prefix="metseg-hosts-") as folder, deployment(Path(folder)) as central:
        speeds = [_speed(central, 1, 0.0, options.rounds)]
        speeds += [_speed(central, 2, latency_s, options.rounds) for latency_s in LATENCIES_S]
        outcomes = {
            f"cut off for {CUT_S:.0f} s, then given back": _interrupted(central, _cut_off, options.rounds),
            "dies: its processes are killed, its cable is cut": _interrupted(central, _die, options.rounds),
        }
    text = "\n".join([*_speed_table(speeds), "", *_outcome_table(outcomes), "", _notes(on, options.rounds)]) + "\n"
    print(text)
    if options.write:
        replace_block(options.write, "hosts", text)


# Throughput


class Speed(NamedTuple):
    """Jobs per second of some hosts, in each round."""

    hosts: int
    latency_s: float
    round_trip_s: float
    jobs_per_s: list[float]


def _speed(central: Central, count: int, latency_s: float, rounds: int) -> Speed:
    """Measure with some hosts; before that each worker loads its model."""
    study = study_file(SLICES, 5)
    names = [f"w{number + 1}" for number in range(count)]
    with central.workers(dict.fromkeys(names, latency_s)) as hosts, _client(central) as client:
        round_trip_s = hosts[0].round_trip_s(central.redis.port)
        run = at_once(lambda: client.wait(client.submit([study]).id))
        run()
        found = [JOBS / run() for _ in range(rounds)]
    _say(f"{count} hosts, {latency_s * 1000:.0f} ms: {page.spread(found, 2)} jobs/s")
    return Speed(count, latency_s, round_trip_s, found)


def _speed_table(speeds: Sequence[Speed]) -> list[str]:
    first = median(speeds[0].jobs_per_s)
    cells = [
        [
            str(each.hosts),
            f"{each.latency_s * 1000:.0f}",
            f"{each.round_trip_s * 1000:.1f}",
            page.spread(each.jobs_per_s, 2),
            f"{median(each.jobs_per_s) / first:.2f}",
        ]
        for each in speeds
    ]
    head = ["worker hosts", "added one way, ms", "round trip, ms", "jobs per second", "times one host"]
    return rows(head, cells)


# Interruptions


def _interrupted(central: Central, happens: Callable[[Host], float | None], rounds: int) -> list[Outcome]:
    found = []
    for _ in range(rounds):
        found.append(_interruption(central, happens))
        _say(f"{happens.__name__}: {_counts(found[-1:])}, {found[-1]._replace(jobs=[])}")
    return found


def _interruption(central: Central, happens: Callable[[Host], float | None]) -> Outcome:
    """Queue jobs, let something happen to the first host while it works on one, and wait for all ends."""
    study = study_file(SLICES, 5)
    with central.workers({"w1": LAN_S, "w2": LAN_S}) as (first, second), _client(central) as client:
        at_once(lambda: client.wait(client.submit([study]).id))()
        with ThreadPoolExecutor(AT_ONCE) as clients:
            ids = list(clients.map(lambda _: client.submit([study]).id, range(QUEUED)))
        wait_until(lambda: bool(_held(first.attempts())), 10)
        began, held = time.time(), _held(first.attempts())
        back_at = happens(first)
        jobs = checked(central.store, client, ids, began + MAX_WAIT_S)
        again = [each for each in first.attempts() if back_at is not None and each.begun_at > back_at]
        return Outcome(
            jobs=jobs,
            held=len(held),
            queued_again_s=_first(second.queued_again(), held) - began,
            taken_over_s=_first({each.job_id: each.begun_at for each in second.attempts()}, held) - began,
            done_s=max(each.finished_at or math.nan for each in jobs) - began,
            worked_again_s=None
            if back_at is None
            else min((each.begun_at for each in again), default=math.nan) - back_at,
            jobs_again=sum(each.ended_at is not None for each in again),
        )


def _cut_off(host: Host) -> float:
    """Cut a host off, and give it back; returns when."""
    host.cut_off()
    time.sleep(CUT_S)
    host.give_back()
    return time.time()


def _die(host: Host) -> None:
    """Let a host die for good."""
    host.die()


def _held(found: Iterable[Attempt]) -> set[str]:
    """The jobs that a worker has begun and not ended."""
    return {each.job_id for each in found if each.ended_at is None}


def _first(times: Mapping[str, float], held: Iterable[str]) -> float:
    """The earliest time of these jobs; NaN if there is none."""
    return min((times[job_id] for job_id in held if job_id in times), default=math.nan)


# What became of the jobs


def checked(store: S3Store, client: Client, ids: Sequence[str], until: float) -> list[Checked]:
    """Wait for the ends of jobs, and somewhat longer for what must not come; then check what the store has of them.

    Args:
        store: with the jobs.
        client: of the gateway.
        ids: of the jobs.
        until: the time after which no end is waited for.

    Returns:
        The jobs, in their order.
    """
    jobs = [_ended(client, job_id, until) for job_id in ids]
    before = [_end_of(store, job.id) for job in jobs]
    time.sleep(LATE_S)
    masks: set[str] = set()
    found = []
    for job, first_end in zip(jobs, before, strict=True):
        end = _end_of(store, job.id)
        folders = {info.key.split("/")[3] for info in store.list(f"jobs/{job.id}/results/")}
        finished_at = job.finished_at.timestamp() if job.finished_at else None
        intact = job.status is not JobStatus.SUCCEEDED or _intact(store, job.id, json.loads(end), masks)
        found.append(Checked(job.status, finished_at, max(1, len(folders)) + (end != first_end), intact))
    return found


def _ended(client: Client, job_id: str, until: float) -> Job:
    """A job at its end, or after the time to wait for it."""
    while not (job := client.job(job_id, wait_s=10)).status.final and time.time() < until:
        pass
    return job


def _end_of(store: S3Store, job_id: str) -> bytes:
    """The record of a job's end; empty where there is none."""
    try:
        return store.get(f"jobs/{job_id}/end.json")
    except NotFound:
        return b""


def _intact(store: S3Store, job_id: str, end: dict[str, Any], masks: set[str]) -> bool:
    """Whether a job's artefacts have the digests of its end, and its mask is the only one in `masks`."""
    for name, digest in end["digests"].items():
        content = store.get(f"jobs/{job_id}/{end['results']}/{name}")
        if hashlib.sha256(content).hexdigest() != digest["sha256"]:
            return False
        if name == MASK:
            masks.add(hashlib.sha256(gzip.decompress(content)).hexdigest())
    return len(masks) == 1


def _counts(rounds: Sequence[Outcome]) -> dict[str, int]:
    """Of all rounds: jobs accepted, succeeded, failed, lost, with two results, and damaged."""
    jobs = [job for each in rounds for job in each.jobs]
    return {
        "accepted": len(jobs),
        "succeeded": sum(job.status is JobStatus.SUCCEEDED for job in jobs),
        "failed": sum(job.status is JobStatus.FAILED for job in jobs),
        "lost": sum(not job.status.final for job in jobs),
        "two results": sum(job.ends > 1 for job in jobs),
        "damaged": sum(not job.intact for job in jobs),
    }


def _outcome_table(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    cells = [[title, *map(str, _counts(rounds).values()), *_seconds(rounds)] for title, rounds in outcomes.items()]
    seconds = ["queued again, s", "taken over, s", "all done, s", "works again, s", "jobs since"]
    return rows(["one of two hosts", *_counts([]), *seconds], cells)


def _seconds(rounds: Sequence[Outcome]) -> list[str]:
    """The spread of each time, and of the jobs of a host that was given back."""
    cells = [
        page.spread([getattr(each, name) for each in rounds]) for name in ("queued_again_s", "taken_over_s", "done_s")
    ]
    again = [each.worked_again_s for each in rounds if each.worked_again_s is not None]
    return (
        [*cells, page.spread(again), page.spread([each.jobs_again for each in rounds], 0)]
        if again
        else [*cells, "", ""]
    )


# The page


def _notes(on: Mapping[str, Any], rounds: int) -> str:
    return (
        f"{on['processor']}, {on['cpus']} CPUs, which all hosts and {AT_ONCE} clients share; {on['at']}, revision "
        f"{on['git_revision']}. {rounds} rounds of each row, median (least to most): {JOBS} jobs of {SLICES} slices per "
        f"round above, {QUEUED} below, with {LAN_S * 1000:.0f} ms added each way. Each worker computes with one thread. "
        "The latency is added to each frame in each direction, so a round trip grows by twice of it; the column has the "
        "time in which a TCP connection was made. Seconds count from the interruption, those until a host works again "
        "from its return."
    )


def _client(central: Central) -> Client:
    return Client(central.url, api_key=central.api_key)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()

"""Workers on other hosts: jobs per second by latency, a host that is cut off for a while, and one that dies.

    python -m tests.bench.bench_hosts [--only interruptions] [--write docs/scaling.md]

Needs root: the hosts are network namespaces of this machine (`tests.bench.hosts`), so they share its CPUs. Gateway,
Redis and store are on one host, a worker on each other one. Every job that was accepted is checked at the end.
"""

import argparse
import math
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench import page
from tests.bench.ends import Checked, checked, counts
from tests.bench.hosts import Central, Host, deployment
from tests.bench.studies import SLICES, study_file
from tests.bench.system import AT_ONCE, JOBS, at_once
from tests.markdown_tables import replace_block, rows
from tests.servers import wait_until

from metseg.client import Client

PARTS = ("hosts", "interruptions")
LATENCIES_S = (0.0, 0.001, 0.02)
LAN_S = 0.001
QUEUED = 44
CUT_S = 30.0
MAX_WAIT_S = 400.0
START_S = 30.0
SETTLE_S = 2.0
"""A worker that is to take no more jobs may still wait for one."""
SECONDS = {
    "queued_again_s": "s until its job was queued again",
    "begun_again_s": "s until that job was begun again",
    "done_s": "s until all were done",
    "worked_again_s": "s from its return until it began a job",
}


class Outcome(NamedTuple):
    """A queue of jobs while something happened to a host; seconds count from that moment.

    Attributes:
        jobs: all that were answered with 202.
        held: how many of these the host worked on at that moment.
        queued_again_s: until the first of these was queued again.
        begun_again_s: until a worker began the first of these again.
        done_s: until the last job ended.
        worked_again_s: from when the host was given back until it began a job; None if it was not given back.
        jobs_again: jobs that it began and ended after that.
    """

    jobs: list[Checked]
    held: int
    queued_again_s: float
    begun_again_s: float
    done_s: float
    worked_again_s: float | None
    jobs_again: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser("bench_hosts", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], help="default: both")
    parser.add_argument("--rounds", type=int, default=3, help="of each row (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="the page whose tables are renewed")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces")
    for each in (signal.SIGINT, signal.SIGTERM):  # even if a shell made us ignore it
        signal.signal(each, signal.default_int_handler)
    on, parts = page.machine(), {"hosts": _throughput, "interruptions": _interruptions}
    with tempfile.TemporaryDirectory(prefix="metseg-hosts-") as folder, deployment(Path(folder)) as central:
        for name in options.only:
            text = "\n".join([*parts[name](central, options.rounds), "", _notes(name, on, options.rounds)]) + "\n"
            print(text)
            if options.write:
                replace_block(options.write, name, text)


# Throughput


class Speed(NamedTuple):
    """Some hosts with a latency: in each round the time to make a TCP connection, and jobs per second."""

    hosts: int
    latency_s: float
    round_trips_s: list[float]
    jobs_per_s: list[float]


def _throughput(central: Central, rounds: int) -> list[str]:
    """Measure all in turn, after each worker has loaded its model."""
    speeds = [Speed(1, 0.0, [], []), *(Speed(2, latency_s, [], []) for latency_s in LATENCIES_S)]
    study = study_file(SLICES, 5)
    with central.workers("w1", "w2") as hosts, _client(central) as client:
        run = at_once(lambda: client.wait(client.submit([study]).id))
        run()
        for _ in range(rounds):
            for speed in speeds:
                for number, host in enumerate(hosts):
                    host.set_latency(speed.latency_s)
                    central.let_work(host, work=number < speed.hosts)
                time.sleep(SETTLE_S)
                speed.round_trips_s.append(hosts[0].round_trip_s(central.redis.port))
                speed.jobs_per_s.append(JOBS / run())
                _say(f"{speed.hosts} hosts, {speed.latency_s * 1000:.0f} ms: {speed.jobs_per_s[-1]:.2f} jobs/s")
    first = median(speeds[0].jobs_per_s)
    cells = [
        [
            str(each.hosts),
            f"{each.latency_s * 1000:.0f}",
            page.spread([1000 * one for one in each.round_trips_s]),
            page.spread(each.jobs_per_s, 2),
            f"{median(each.jobs_per_s) / first:.2f}",
        ]
        for each in speeds
    ]
    return rows(["worker hosts", "added one way, ms", "round trip, ms", "jobs per second", "times one host"], cells)


# Interruptions


def _interruptions(central: Central, rounds: int) -> list[str]:
    """Let one of two hosts be cut off, then die, some times; a column for each."""
    columns = []
    for happens in (_cut_off, _die):
        found = []
        for _ in range(rounds):
            found.append(_interruption(central, happens))
            _say(f"{happens.__name__}: {counts(found[-1].jobs)}, {found[-1]._replace(jobs=[])}")
        of_jobs = counts([job for each in found for job in each.jobs])
        columns.append([*map(str, of_jobs.values()), *_times(found)])
    names = [*(f"jobs: {name}" for name in counts([])), *SECONDS.values(), "jobs that it ended after its return"]
    cells = [[name, *of] for name, *of in zip(names, *columns, strict=True)]
    return rows(["one of two hosts", f"is cut off for {CUT_S:.0f} s", "dies"], cells)


def _interruption(central: Central, happens: Callable[[Host], float | None]) -> Outcome:
    """Queue jobs, let something happen to the first host while it works on one, and wait for all ends."""
    study = study_file(SLICES, 5)
    with central.workers("w1", "w2") as (first, second), _client(central) as client:
        for host in (first, second):
            host.set_latency(LAN_S)
        with ThreadPoolExecutor(AT_ONCE) as clients:
            ids = list(clients.map(lambda _: client.submit([study]).id, range(QUEUED)))
        wait_until(lambda: _has_ended_one(second) and _has_ended_one(first) and bool(_held(first)), START_S)
        began, held = time.time(), _held(first)
        back_at = happens(first)
        jobs = checked(central.store, client, ids, began + MAX_WAIT_S)
        tried = [each for each in first.attempts() + second.attempts() if each.begun_at > began]
        again = [each for each in first.attempts() if back_at is not None and each.begun_at > back_at]
    return Outcome(
        jobs=jobs,
        held=len(held),
        queued_again_s=_earliest(at for job_id, at in second.queued_again().items() if job_id in held) - began,
        begun_again_s=_earliest(each.begun_at for each in tried if each.job_id in held) - began,
        done_s=max(each.finished_at or math.nan for each in jobs) - began,
        worked_again_s=None if back_at is None else _earliest(each.begun_at for each in again) - back_at,
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


def _held(host: Host) -> set[str]:
    """The jobs that a host's worker has begun and not ended."""
    return {each.job_id for each in host.attempts() if each.ended_at is None}


def _has_ended_one(host: Host) -> bool:
    return any(each.ended_at is not None for each in host.attempts())


def _earliest(times: Iterable[float]) -> float:
    """The least of some times; NaN if there is none."""
    return min(times, default=math.nan)


def _times(rounds: Sequence[Outcome]) -> list[str]:
    """The spread of each time, and of the jobs that the host ended after it was given back."""
    cells = [_spread(getattr(each, name) for each in rounds) for name in SECONDS]
    return [*cells, _spread((each.jobs_again for each in rounds), 0) if cells[-1] else ""]


def _spread(values: Iterable[float | None], digits: int = 1) -> str:
    """The median, the least and the most; empty where nothing was measured."""
    known = [value for value in values if value is not None]
    return page.spread(known, digits) if known else ""


# The page


def _notes(part: str, on: Mapping[str, Any], rounds: int) -> str:
    jobs = {"hosts": f"{JOBS} per round", "interruptions": f"{QUEUED} per round, with {LAN_S * 1000:.0f} ms one way"}
    return (
        f"{on['processor']}, {on['cpus']} CPUs, which all hosts and {AT_ONCE} clients share; load of other work at the "
        f"start {on['load_before']}; {on['at']}, revision {on['git_revision']}. {rounds} rounds of each, median (least "
        f"to most); jobs of {SLICES} slices, {jobs[part]}. Each worker computes with one thread."
    )


def _client(central: Central) -> Client:
    return Client(central.url, api_key=central.api_key)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()

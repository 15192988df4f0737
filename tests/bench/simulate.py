"""How long studies wait: a discrete-event simulation of the queue and its workers, fed with measured service times.

    python -m tests.bench.simulate

The queue is first come, first served; each worker computes one study at a time. First the loads measured by
`make bench ARGS="--only latency"` are replayed, arrival by arrival, then the rates in docs/scaling.md with Poisson
arrivals.
"""

import argparse
import heapq
import json
import random
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, NamedTuple

from tests.markdown_tables import replace_block, rows

__all__ = ["Study", "Waited", "arrivals", "blocks", "play"]

RATES_PER_H = (1, 100, 10_000)
BUSY = 0.7
HOUR_MS = 3_600_000
OURS = "through all services"
RUNS = 20


class Waited(NamedTuple):
    """Seconds from submission to result, and the share of the time that workers were busy."""

    median_s: float
    p95_s: float
    busy: float


class Study(NamedTuple):
    """A study, in seconds: its arrival, then the time until it is queued, in a worker, and after the worker."""

    came_s: float
    before_s: float
    busy_s: float
    after_s: float


def play(studies: Sequence[Study], workers: int) -> Waited:
    """Send studies, in order of arrival, through a queue and its workers."""
    free = [0.0] * workers
    took = []
    for study in studies:
        ends = max(study.came_s + study.before_s, heapq.heappop(free)) + study.busy_s
        heapq.heappush(free, ends)
        took.append(ends - study.came_s + study.after_s)
    last = max(*free, studies[-1].came_s)
    return Waited(median(took), quantiles(took, n=20)[-1], sum(study.busy_s for study in studies) / (workers * last))


def arrivals(rate_per_s: float, count: int, drawn: random.Random) -> list[float]:
    """Poisson arrivals from 0 on."""
    now, times = 0.0, []
    for _ in range(count):
        times.append(now)
        now += drawn.expovariate(rate_per_s)
    return times


def tables(figures: dict[str, Any]) -> str:
    """Both tables of docs/scaling.md, from the figures of the part `latency`."""
    cycle_s = 1 / figures["capacity"]
    before_s, after_s = median(figures["before_s"]), median(figures["after_s"])
    measured = []
    for share, load in figures["loads"].items():
        columns = (load["came_s"], load["before_s"], load["busy_s"], load["after_s"])
        studies = [
            Study(came, before, busy + load["turn_s"], after)
            for came, before, busy, after in zip(*columns, strict=True)
        ]
        took_s, simulated = median(load["took_s"]), play(studies, 1).median_s
        cells = [f"{took_s:.2f}", f"{simulated:.2f}", f"{simulated / took_s - 1:+.0%}"]
        measured.append([f"{float(share):.0%} of capacity, {len(studies)} studies", *cells])
    reckoned = []
    for rate in RATES_PER_H:
        workers = max(1, ceil(rate / 3600 * cycle_s / BUSY))
        drawn = random.Random(rate)
        hours = [
            [Study(came, before_s, cycle_s, after_s) for came in arrivals(rate / 3600, 500, drawn)] for _ in range(RUNS)
        ]
        runs = [play(studies, workers) for studies in hours]
        of = [fmean(getattr(run, name) for run in runs) for name in Waited._fields]
        reckoned.append([f"{rate:,}", str(workers), f"{of[0]:.1f}", f"{of[1]:.1f}", f"{of[2]:.0%}"])
    turns = [f"{load['turn_s']:.2f}" for load in figures["loads"].values()]
    lines = [
        *rows(["load, 30 slices", "measured median, s", "simulated median, s", "off by"], measured),
        "",
        "In the replay each study takes the times for acceptance, segmentation and answer that were measured, and its "
        f"worker the measured time between two studies, {', '.join(turns)} s on average; only its waiting is "
        f"simulated. With other rates every study occupies a worker for {cycle_s:.2f} s, one over the measured "
        f"capacity, and takes {before_s + after_s:.2f} s more, as measured without load; there are as many workers as "
        f"keep them at most {BUSY:.0%} busy:",
        "",
        *rows(["studies per hour", "workers of 2 cores", "median, s", "p95, s", "busy"], reckoned),
    ]
    return "\n".join(lines) + "\n"


def costs(figures: dict[str, Any]) -> str:
    """The cost of a study in each part, from the figures of `system`, and the capacity of cores that follows."""
    ours = figures[OURS]
    parts = {part: median(one[part] for one in ours["cpu_ms"]) for part in ours["cpu_ms"][0]}
    shown = {"worker": "worker", "store": "store (SeaweedFS)", "gateway": "gateway", "redis": "Redis"}
    cells = [[title, f"{parts[part]:.0f}", _rounded(HOUR_MS / parts[part])] for part, title in shown.items()]
    measured, whole = median(ours["jobs_per_s"]) * 3600, sum(parts.values())
    nodes = [
        ["2 cores with everything on them, one worker", _rounded(measured), "measured"],
        ["the same if no CPU were ever idle", _rounded(2 * HOUR_MS / whole), "estimated"],
        [
            "16 cores, workers alone; store and its network are elsewhere",
            _rounded(16 * HOUR_MS / parts["worker"]),
            "estimated",
        ],
    ]
    lines = [
        *rows(["part", "CPU of a study, ms (measured)", "one core carries, studies per hour (estimated)"], cells),
        "",
        *rows(["node", "studies per hour", ""], nodes),
    ]
    return "\n".join(lines) + "\n"


def _rounded(number: float) -> str:
    """Rounded to two significant digits."""
    digits = 10 ** max(0, len(str(int(number))) - 2)
    return f"{round(number / digits) * digits:,.0f}"


def blocks(parts: dict[str, Any]) -> dict[str, str]:
    """The generated blocks of docs/scaling.md, by the name of their marks."""
    scale = parts["scale"]["table"]
    return {
        "costs": costs(parts["system"]["figures"]),
        "scale": "\n".join([*rows(scale["head"], scale["cells"]), "", *scale["notes"]]) + "\n",
        "simulation": tables(parts["latency"]["figures"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate all loads, and write the tables to the page."""
    parser = argparse.ArgumentParser("simulate", description=__doc__)
    parser.add_argument("--against", type=Path, default=Path("docs/results/performance.json"))
    parser.add_argument("--write", type=Path, help="the page whose tables are renewed")
    options = parser.parse_args(arguments)
    for name, text in blocks(json.loads(options.against.read_text())).items():
        print(text)
        if options.write:
            replace_block(options.write, name, text)


if __name__ == "__main__":
    main()

"""How long studies wait: a discrete-event simulation of the queue and its workers, fed with measured service times.

    PYTHONPATH=.:shared python -m tests.bench.simulate --service-s 1.2 --against docs/results/performance.json

Arrivals are Poisson, the queue is first come, first served, each worker computes one study at a time. First the loads
that `make bench ARGS="--only latency"` measured are played again, then the rates that docs/scaling.md speaks of.
"""

import argparse
import heapq
import json
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import NamedTuple

__all__ = ["Waited", "play"]

RATES_PER_H = (1, 100, 10_000)
RUNS = 20


class Waited(NamedTuple):
    """Seconds from submission to result, and the share of the time that workers were busy."""

    median_s: float
    p95_s: float
    busy: float


def play(arrivals_s: Sequence[float], service_s: Sequence[float], workers: int, overhead_s: float = 0.0) -> Waited:
    """Send studies through the queue.

    Args:
        arrivals_s: when each study comes, in order.
        service_s: how long a worker is busy with each.
        workers: that compute side by side.
        overhead_s: that a study takes besides, without a worker being busy.
    """
    free = [0.0] * workers
    took = []
    for came, busy in zip(arrivals_s, service_s, strict=True):
        ends = max(came, heapq.heappop(free)) + busy
        heapq.heappush(free, ends)
        took.append(ends - came + overhead_s)
    last = max(*free, arrivals_s[-1])
    return Waited(median(took), quantiles(took, n=20)[-1], sum(service_s) / (workers * last))


def arrivals(rate_per_s: float, count: int, drawn: random.Random) -> list[float]:
    """Poisson arrivals from 0 on."""
    now, times = 0.0, []
    for _ in range(count):
        times.append(now)
        now += drawn.expovariate(rate_per_s)
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Play the measured loads again, then other rates."""
    parser = argparse.ArgumentParser("simulate", description=__doc__)
    parser.add_argument("--against", type=Path, default=Path("docs/results/performance.json"))
    parser.add_argument("--service-s", type=float, help="of a study; default: from the measured capacity")
    options = parser.parse_args(arguments)
    figures = json.loads(options.against.read_text())["latency"]["figures"]
    service_s = options.service_s or 1 / figures["capacity"]
    print("| load | measured median, s | simulated median, s |\n| --- | ---: | ---: |")
    for share, load in figures["loads"].items():
        count = len(load["took_s"])
        times = arrivals(load["rate"], count, random.Random(0))  # as the bench draws them
        simulated = play(times, [service_s] * count, 1)
        print(f"| {float(share):.0%} | {median(load['took_s']):.2f} | {simulated.median_s:.2f} |")
    print("\n| studies an hour | workers | median, s | p95, s | busy |\n| ---: | ---: | ---: | ---: | ---: |")
    for rate in RATES_PER_H:
        workers = max(1, round(rate / 3600 * service_s / 0.7 + 0.5))
        drawn = random.Random(rate)
        runs = [play(arrivals(rate / 3600, 500, drawn), [service_s] * 500, workers) for _ in range(RUNS)]
        of = [fmean(getattr(run, name) for run in runs) for name in Waited._fields]
        print(f"| {rate:,} | {workers} | {of[0]:.1f} | {of[1]:.1f} | {of[2]:.0%} |")


if __name__ == "__main__":
    main()

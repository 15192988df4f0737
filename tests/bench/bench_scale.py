"""`docker compose up --scale worker=N` for real: jobs per second with one worker and with two.

    python -m tests.bench.bench_scale

The deployment runs unchanged but for the limits on submissions. Each pair is a number of workers and the CPUs that each
may use; two pairs differ only by one container.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.bench import page
from tests.bench.studies import SLICES, study_file
from tests.bench.system import AT_ONCE, JOBS, at_once
from tests.e2e.deployment import Deployment

from metseg.client import Client

PAIRS = ((1, 1), (2, 1), (1, 2), (2, 2))
NAME = "metseg-scale"
UP_S = 240.0


class Scaled(Deployment):
    """A separately named deployment whose number of workers changes while it runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, variables={"METSEG_KEY_JOBS_PER_MINUTE": "100000", "METSEG_KEY_OPEN_JOBS": "100000"})
        self.name = NAME

    def scale(self, workers: int, cpus: int) -> None:
        """Run `workers` workers with `cpus` CPUs each; returns when all are healthy."""
        self._environment["METSEG_WORKER_CPUS"] = str(cpus)
        flags = ["--detach", "--no-build", "--wait", "--wait-timeout", "180", "--scale", f"worker={workers}"]
        self.compose("up", *flags, "api", "worker", timeout_s=UP_S)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all pairs in turn, and write the table."""
    parser = argparse.ArgumentParser("bench_scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each pair (default: %(default)s)")
    parser.add_argument("--no-build", action="store_true", help="take the images of the last run")
    options = parser.parse_args(arguments)
    on = page.machine()
    with tempfile.TemporaryDirectory() as folder:
        here = Scaled(Path(folder))
        try:
            if not options.no_build:
                here.compose("build", "--with-dependencies", "api", "worker", timeout_s=1200)
            speeds = {pair: _speeds(here, *pair, options.rounds) for pair in PAIRS}
        finally:
            here.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")
    first = median(speeds[PAIRS[0]])
    cells = [
        [str(workers), str(cpus), page.spread(found, 2), f"{median(found) / first:.2f}"]
        for (workers, cpus), found in speeds.items()
    ]
    notes = [
        f"`docker compose up --scale worker=N` on one machine of {on['cpus']} CPUs, on which gateway, Redis, store and "
        f"the {AT_ONCE} clients run too: {JOBS} jobs of {SLICES} slices per round, {options.rounds} rounds of each."
    ]
    head = ["workers", "CPUs of each", "jobs per second", "times one worker of one CPU"]
    page.keep("scale", on, {"head": head, "cells": cells, "notes": notes}, {str(key): of for key, of in speeds.items()})


def _speeds(here: Scaled, workers: int, cpus: int, rounds: int) -> list[float]:
    """Jobs per second of each round; before them each worker loads its model."""
    here.scale(workers, cpus)
    study = study_file(SLICES, 5)
    with Client(here.api_url) as client:
        run = at_once(lambda: client.wait(client.submit([study]).id))
        run()
        found = [JOBS / run() for _ in range(rounds)]
    print(f"{time.strftime('%H:%M:%S')} {workers} workers of {cpus} CPUs: {page.spread(found, 2)} jobs/s", flush=True)
    return found


if __name__ == "__main__":
    main()

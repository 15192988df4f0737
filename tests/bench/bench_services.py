"""What the services around the model cost: jobs per second, waiting, and memory.

    make bench ARGS="--only system latency"

Gateway, worker, Redis and an S3 server run as processes on this machine; the bare loop does the same with the same
slices, without any of them.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.latency import latency
from tests.bench.memory import memory
from tests.bench.site import site
from tests.bench.studies import study_file
from tests.bench.system import system

from metseg.client import Client

PARTS = {"system": system, "latency": latency, "memory": memory}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the requested parts, all on one deployment."""
    parser = argparse.ArgumentParser("bench_services", description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(PARTS), help="of system, latency, memory")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60, help="of each load (default: %(default)s)")
    options, _ = parser.parse_known_args(arguments)
    wanted = [measure for part, measure in PARTS.items() if part in options.only]
    if wanted:
        with tempfile.TemporaryDirectory() as name, site(Path(name)) as here, Client(here.url) as client:
            client.wait(client.submit([study_file(1, 5)]).id)  # the worker loads its model
            for measure in wanted:
                measure(here, client, options, Path(name))


if __name__ == "__main__":
    main()

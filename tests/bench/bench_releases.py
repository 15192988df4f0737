"""Releases in turn: what a job costs on its way through all services, and how long a slice and a large study take.

    git worktree add --detach /tmp/before REVISION
    python -m tests.bench.bench_releases --tree /tmp/before --tree .

Each checkout serves the starter model of its own folder. All calls are plain HTTP, which every release understands.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from tests.bench import page
from tests.bench.others import OTHERS
from tests.bench.site import site
from tests.bench.studies import SLICES, study_file, volume_files
from tests.bench.system import Contestant, at_once, enter_others, looping
from tests.markdown_tables import rows

from metseg.phantom import head

BARE, ONE, TWO = "bare loop", "one worker", "two workers"
ANSWER_S = 600.0

Files = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Release:
    """A checkout, running."""

    http: httpx.Client
    contestants: dict[str, Contestant]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser("bench_releases", description=__doc__)
    options.add_argument("--tree", type=Path, action="append", required=True, help="a checkout")
    options.add_argument("--rounds", type=int, default=3, help="of full queues (default: %(default)s)")
    options.add_argument("--slices", type=int, default=60, help="sent alone (default: %(default)s)")
    options.add_argument("--large", type=int, default=2, help="large studies (default: %(default)s)")
    wanted = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        releases = {
            str(tree): _started(stack, folder / str(index), tree.resolve()) for index, tree in enumerate(wanted.tree)
        }
        for turn in range(wanted.rounds + 1):
            for release in releases.values():
                for contestant in release.contestants.values():
                    contestant.turn(counts=turn > 0)
        columns = {name: dict(_of_full_queues(release.contestants)) for name, release in releases.items()}
        _add(columns, _alone(releases, wanted.slices))
        _add(columns, _large(releases, wanted.large))
    names = list(columns[next(iter(columns))])
    print("\n".join(rows(["", *columns], [[name, *(of[name] for of in columns.values())] for name in names])))
    print(page.machine())


def _started(stack: ExitStack, folder: Path, tree: Path) -> Release:
    folder.mkdir()
    study = study_file(SLICES, 5)
    here, two = (stack.enter_context(site(folder / str(workers), workers, tree)) for workers in (1, 2))
    contestants = {BARE: stack.enter_context(looping(BARE, "bare", study, folder, tree))}
    gateways = [stack.enter_context(httpx.Client(base_url=place.url, timeout=ANSWER_S)) for place in (here, two)]
    for name, place, http in zip((ONE, TWO), (here, two), gateways, strict=True):
        contestants[name] = Contestant(at_once(lambda http=http: _segment(http, [study])), place.cpu_s)
    contestants |= enter_others(stack, study, folder, tree)
    return Release(gateways[0], contestants)


def _segment(http: httpx.Client, files: Files) -> dict[str, Any]:
    """Submit a study and wait for its result.

    Raises:
        RuntimeError: the job did not succeed.
    """
    answer = http.post("/v1/jobs", files=[("files", file) for file in files]).raise_for_status()
    job = answer.json()
    while job["status"] in ("queued", "running"):
        job = http.get(f"/v1/jobs/{job['id']}", params={"wait": 30}).raise_for_status().json()
    if job["status"] != "succeeded":
        raise RuntimeError(f"The job ended as {job['status']}.")
    result: dict[str, Any] = http.get(f"/v1/jobs/{job['id']}/result").raise_for_status().json()
    return result


def _of_full_queues(contestants: Mapping[str, Contestant]) -> Iterator[tuple[str, str]]:
    """Jobs per second, compared within each round, and CPU time by part."""
    loop, one = contestants[BARE], contestants[ONE]
    for name in (ONE, TWO):
        ratios = [bare / ours for bare, ours in zip(loop.took_s, contestants[name].took_s, strict=True)]
        yield f"jobs per second of the bare loop's, {name}", page.spread(ratios, 2)
    for name in OTHERS:
        ratios = [other / ours for other, ours in zip(contestants[name].took_s, one.took_s, strict=True)]
        yield f"of {name}'s", page.spread(ratios, 2)
    yield "CPU ms per job: bare loop", page.spread(loop.cpu(), 0)
    beyond = [worker - bare for worker, bare in zip(one.cpu("worker"), loop.cpu(), strict=True)]
    yield "worker, beyond the loop", page.spread(beyond, 0)
    for part in ("store", "gateway", "redis"):
        yield part, page.spread(one.cpu(part), 0)


def _alone(releases: Mapping[str, Release], count: int) -> dict[str, dict[str, str]]:
    """Milliseconds of single slices, in turn."""
    slice_ = study_file(1, 7)
    over: dict[str, list[float]] = {name: [] for name in releases}
    for _ in range(count):
        for name, release in releases.items():
            began = time.perf_counter()
            result = _segment(release.http, [slice_])
            over[name].append(1000 * (time.perf_counter() - began - result["durations_s"]["predict"]))
    return {name: {"idle, a slice, less predict: p50, ms": f"{median(values):.0f}"} for name, values in over.items()}


def _large(releases: Mapping[str, Release], count: int) -> dict[str, dict[str, str]]:
    """Seconds of three volumes of 512x512x400, in turn."""
    files = large_study()
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in releases}
    for _ in range(count):
        for name, release in releases.items():
            began = time.perf_counter()
            phases: dict[str, float] = _segment(release.http, files)["durations_s"]
            seconds[name].append(phases | {"all": time.perf_counter() - began})
    large = "three volumes of 512x512x400, s"
    return {
        name: {f"{large}: {phase}": page.spread([one[phase] for one in of]) for phase in ("read", "predict", "all")}
        for name, of in seconds.items()
    }


def large_study() -> Files:
    """A phantom of 512 x 512 x 400 voxels as three NIfTI volumes in 16 bits."""
    volume = head(47, slices=100, size_px=512, spacing_mm=(1.6, 0.45, 0.45)).volume
    pixels = np.repeat(volume.pixels, 4, axis=0)
    affine = volume.affine @ np.diag([1, 1, 0.25, 1])
    return volume_files(pixels, affine)


def _add(columns: dict[str, dict[str, str]], more: Mapping[str, Mapping[str, str]]) -> None:
    for name, cells in more.items():
        columns[name] |= cells


if __name__ == "__main__":
    main()

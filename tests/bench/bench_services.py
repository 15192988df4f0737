"""What the services around the model cost: jobs a second, waiting, memory, and what grows with what is stored.

    make bench ARGS="--only system latency"

Gateway, worker, Redis and an S3 server run as processes of this machine; the bare loop does the same to the same slices
without any of them.
"""

import argparse
import io
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tests.bench import page
from tests.bench.site import Site, site

from metseg import formats, phantom
from metseg.client import Client
from metseg.contracts import ModelCard
from metseg.pictures import encode_png
from metseg.predictor import OnnxPredictor, cpu_quota
from metseg.segment import segment
from metseg.settings import MIB, Limits

PARTS = ("system", "latency", "memory")
STARTER = Path("infra/starter-model")
AT_ONCE = 4
SLICES = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that are wanted, all on one deployment."""
    parser = argparse.ArgumentParser("bench_services", description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(PARTS), help="of system, latency, memory")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="of each load (default: %(default)s)")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args(arguments)
    if options.bare:
        bare(options.bare)
        return
    wanted = [part for part in PARTS if part in options.only]
    if wanted:
        with tempfile.TemporaryDirectory() as name, site(Path(name)) as here, Client(here.url) as client:
            client.wait(client.submit([study_file(1, 5)]).id)  # the worker loads its model
            for part in wanted:
                {"system": system, "latency": latency, "memory": memory}[part](here, client, options, Path(name))


def archive(slices: int, rows: int, seed: int = 5) -> bytes:
    """A ZIP of a drawn head's slices; of a long series several are alike."""
    few = phantom.head(seed, slices=min(slices, 40), size_px=rows).volume.pixels
    return packed(few[index * len(few) // slices] for index in range(slices))


def heavy(megabytes: int) -> bytes:
    """A ZIP of slices of noise, which nothing packs: 0.8 MB each."""
    noise = np.random.default_rng(0)
    return packed(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(max(1, round(megabytes / 0.79))))


def packed(slices: Iterable[npt.NDArray[np.uint8]]) -> bytes:
    """Slices as a ZIP of PNGs."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for index, pixels in enumerate(slices):
            file.writestr(f"s_{index:04d}.png", encode_png(pixels))
    return target.getvalue()


def study_file(slices: int, seed: int) -> tuple[str, bytes]:
    """A file as `Client.submit` takes it."""
    return "study.zip", archive(slices, 256, seed)


def bare(file: Path) -> None:
    """Read, prepare, predict and measure one study again and again, and tell the seconds that each took."""
    card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
    predictor = OnnxPredictor(card, (STARTER / "model.onnx").read_bytes(), cpu_quota())
    content = file.read_bytes()

    def once() -> None:
        segment(formats.read([formats.Upload(file.name, io.BytesIO(content), None)], Limits()), predictor)

    once()
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            once()
        print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


def system(here: Site, client: Client, options: argparse.Namespace, folder: Path) -> None:
    """Jobs a second through everything, against the bare loop, in turns."""
    on = page.machine()
    name, content = study_file(SLICES, 5)
    (folder / name).write_bytes(content)
    command = [sys.executable, "-m", "tests.bench.bench_services", "--bare", str(folder / name)]
    jobs, ratios, speeds, loops, cpu = 3 * AT_ONCE, [], [], [], []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loop:
        assert loop.stdin is not None
        assert loop.stdout is not None
        assert loop.stdout.readline() == "ready\n"
        for turn in range(options.rounds + 1):
            print(jobs, file=loop.stdin, flush=True)
            loop_s, loop_cpu_s = map(float, loop.stdout.readline().split())
            before, began = here.cpu_s(), time.perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as clients:
                list(clients.map(lambda _: client.wait(client.submit([(name, content)]).id), range(jobs)))
            site_s = time.perf_counter() - began
            if turn:
                used = {part: after - before[part] for part, after in here.cpu_s().items()}
                speeds.append(jobs / site_s)
                loops.append(jobs / loop_s)
                ratios.append(loop_s / site_s)
                cpu.append(
                    {part: 1000 * spent / jobs for part, spent in used.items()} | {"loop": 1000 * loop_cpu_s / jobs}
                )
        loop.stdin.close()
    parts = {part: [one[part] for one in cpu] for part in cpu[0]}
    through = [sum(one.values()) - one["loop"] for one in cpu]
    cells = [
        ["bare loop", page.spread(loops, 2), "1.00", page.spread(parts["loop"], 0)],
        ["through all services", page.spread(speeds, 2), page.spread(ratios, 2), page.spread(through, 0)],
        *([f"of it: {part}", "", "", page.spread(spent, 0)] for part, spent in parts.items() if part != "loop"),
    ]
    head = ["", "jobs a second", "of the bare loop's", "CPU ms a job"]
    notes = [
        f"A job is {SLICES} slices of 256x256 in a ZIP; {AT_ONCE} clients at once, {jobs} jobs a round, "
        f"{options.rounds} rounds in turn. The loop reads, prepares, predicts and measures; the site also stores "
        "the upload, draws and packs what people fetch, and stores that."
    ]
    page.keep("system", on, {"head": head, "cells": cells, "notes": notes}, {"ratios": ratios, "cpu_ms": cpu})


def latency(here: Site, client: Client, options: argparse.Namespace, folder: Path) -> None:
    """From submission to result: at idle without the model's time, and under open loads below and above capacity."""
    on = page.machine()
    one = study_file(1, 7)
    over, whole = [], []
    for turn in range(int(options.seconds * 3)):
        began = time.perf_counter()
        result = client.result(client.wait(client.submit([one]).id).id)
        if turn > 4:
            whole.append(1000 * (time.perf_counter() - began))
            over.append(whole[-1] - 1000 * result.durations_s["predict"])
    rows = [("idle, one slice, less the model's time", over), ("idle, one slice, all", whole)]
    study = study_file(SLICES, 5)
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as clients:
        list(clients.map(lambda _: client.wait(client.submit([study]).id), range(3 * AT_ONCE)))
    capacity = 3 * AT_ONCE / (time.perf_counter() - began)
    loads = {}
    for share in (0.5, 0.8, 1.2):
        took, depths, drained_s = _open_load(client, study, share * capacity, options.seconds)
        loads[share] = {"took_s": took, "depths": depths, "drained_s": drained_s, "rate": share * capacity}
        title = f"{share:.0%} of capacity, {SLICES} slices: at most {max(depths)} open, {drained_s:.0f} s to drain"
        rows.append((title, [1000 * each for each in took]))
    cells = [
        [title, *(f"{np.percentile(values, at):.0f}" for at in (50, 95, 99)), str(len(values))]
        for title, values in rows
    ]
    head = ["from submission to result, ms", "p50", "p95", "p99", "jobs"]
    notes = [
        "Idle: submit, `?wait`, fetch the result, one after the other; the model's time is `predict` of the result. "
        "Loads: jobs come at random (Poisson), whether or not earlier ones are done; "
        f"capacity was {capacity:.2f} jobs a second."
    ]
    page.keep(
        "latency",
        on,
        {"head": head, "cells": cells, "notes": notes},
        {"idle_ms": over, "capacity": capacity, "loads": loads},
    )


def _open_load(
    client: Client, study: tuple[str, bytes], rate: float, seconds: float
) -> tuple[list[float], list[int], float]:
    """Seconds that each job took, how many were open at each arrival, and how long the last arrival was outlived."""
    drawn = random.Random(0)
    took: list[float] = []
    depths: list[int] = []

    def one(began: float) -> None:
        client.wait(client.submit([study]).id)
        took.append(time.perf_counter() - began)

    ends = time.perf_counter() + seconds
    with ThreadPoolExecutor(256) as clients:
        sent = 0
        while (now := time.perf_counter()) < ends:
            clients.submit(one, now)
            sent += 1
            depths.append(sent - len(took))
            time.sleep(drawn.expovariate(rate))
        last = time.perf_counter()
    return took, depths, time.perf_counter() - last


def memory(here: Site, client: Client, options: argparse.Namespace, folder: Path) -> None:
    """The largest resident sets of gateway and worker, by the size of the upload and by slices."""
    on = page.machine()
    cells, figures = [], []
    studies = [
        *((f"noise of {size} MB", heavy(size)) for size in (1, 50, 200)),
        *((f"{slices} slices of 240x240", archive(slices, 240)) for slices in (1, 155, 1000)),
    ]
    for title, content in studies:
        before = {part: here.forget_peaks(part) for part in ("gateway", "worker")}
        job = client.wait(client.submit([("study.zip", content)]).id)
        took = client.result(job.id).durations_s if job.status == "succeeded" else {}
        peaks = {part: here.peak_bytes(part) for part in before}
        rise = {part: (peaks[part] - before[part]) / MIB for part in peaks}
        figures.append({"study": title, "bytes": len(content), "peaks": peaks, "rise_mib": rise, "durations_s": took})
        cells.append(
            [
                title,
                f"{len(content) / 1e6:.0f}",
                *(f"{peaks[part] / MIB:.0f} (+{rise[part]:.0f})" for part in peaks),
                job.status,
            ]
        )
    head = ["upload", "MB", "gateway, MiB", "worker, MiB", "ended"]
    notes = ["The largest resident set of one process of the part, and by how much the upload raised it."]
    page.keep("memory", on, {"head": head, "cells": cells, "notes": notes}, figures)


if __name__ == "__main__":
    main()

"""From submission to result: idle, without the model's time, and under open loads below and above capacity."""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from tests.bench import page
from tests.bench.site import Site
from tests.bench.studies import SLICES, study_file
from tests.bench.system import at_once
from tests.overlay import python_with

from metseg.client import Client

__all__ = ["latency"]

IDLE, WARM_UP, ALONE, FULL = 100, 5, 5, 3
SHARES = (0.5, 0.8, 1.2)
PERCENTILES = (50, 95, 99)

Load = dict[str, Any]
"""`rate` per second; `drained_s` from the last arrival to the last result; per study, in order of arrival: `came_s`,
`took_s` until its result, of which `before_s` until it was accepted, `began_s` the start of its segmentation, `busy_s`
its duration, `after_s` the time after it, and `open`, the number of open studies at its arrival. `turn_s` is the time
between two segmentations where the second study was already queued."""
PARTS = ("came_s", "took_s", "before_s", "began_s", "busy_s", "after_s", "open")


def latency(here: Site, client: Client, options: argparse.Namespace, folder: Path) -> None:
    """Measure, and write the table."""
    on = page.machine()
    over, whole = _idle(client)
    rows = [("idle, one slice, less the model's time", over), ("idle, one slice, all", whole)]
    study = study_file(SLICES, 5)
    alone = [_timed(client, study) for _ in range(ALONE + 1)][1:]
    alone_s = [one.took_s for one in alone]
    rows.append((f"idle, {SLICES} slices, all", [1000 * each for each in alone_s]))
    full: list[_Timed] = []
    for _ in range(FULL):
        at_once(lambda: full.append(_timed(client, study)))()
    capacity = 1 / (fmean(one.busy_s for one in full) + _turn_s(full))
    loads = {str(share): _load(here, study, share * capacity, options.seconds, folder) for share in SHARES}
    for share, load in loads.items():
        title = f"{float(share):.0%} of capacity, {SLICES} slices: {depth(load)}, {load['drained_s']:.0f} s to drain"
        rows.append((title, [1000 * each for each in load["took_s"]]))
    cells = [
        [title, *(f"{np.percentile(values, at):.0f}" for at in PERCENTILES), str(len(values))] for title, values in rows
    ]
    head = ["from submission to result, ms", *(f"p{at}" for at in PERCENTILES), "jobs"]
    notes = [
        "Idle: submit, `?wait`, fetch the result, one after the other; the model's time is `predict` of the result. "
        f"Loads: Locust sends studies at random (Poisson) for {options.seconds:.0f} s, whether or not earlier ones are "
        f"done; capacity was {capacity:.2f} jobs per second. Open studies are counted when a study arrives; mean of "
        "each third of the load."
    ]
    besides = {"before_s": [one.before_s for one in alone], "after_s": [one.after_s for one in alone]}
    figures = {"idle_ms": over, "alone_s": alone_s, **besides, "capacity": capacity, "loads": loads}
    page.keep("latency", on, {"head": head, "cells": cells, "notes": notes}, figures)


def depth(load: Load) -> str:
    """How the queue grew."""
    thirds = [float(np.mean(part)) if len(part) else 0.0 for part in np.array_split(load["open"], 3)]
    return f"{', '.join(f'{third:.1f}' for third in thirds)} open"


def _idle(client: Client) -> tuple[list[float], list[float]]:
    """Milliseconds of one slice at a time: without the model's time, and in all."""
    one = study_file(1, 7)
    over, whole = [], []
    for turn in range(WARM_UP + IDLE):
        began = time.perf_counter()
        result = client.result(client.wait(client.submit([one]).id).id)
        took_ms = 1000 * (time.perf_counter() - began)
        if turn >= WARM_UP:
            whole.append(took_ms)
            over.append(took_ms - 1000 * result.durations_s["predict"])
    return over, whole


class _Timed(NamedTuple):
    """A study with its times, in seconds since the start of the load."""

    came_s: float
    took_s: float
    before_s: float
    began_s: float
    busy_s: float
    after_s: float


def _timed(client: Client, study: tuple[str, bytes]) -> _Timed:
    """Segment one study."""
    came_s = time.time()
    job = client.submit([study])
    before_s = time.time() - came_s
    job = client.wait(job.id)
    busy_s = sum(client.result(job.id).durations_s.values())
    ended_s = time.time()
    assert job.started_at is not None
    began_s = job.started_at.timestamp()
    return _Timed(came_s, ended_s - came_s, before_s, began_s, busy_s, ended_s - began_s - busy_s)


def _turn_s(studies: Iterable[_Timed]) -> float:
    """Mean seconds between two segmentations where the second study was already queued."""
    in_order = sorted(studies, key=lambda study: study.began_s)
    return fmean(
        after.began_s - ends_s
        for one, after in pairwise(in_order)
        if after.came_s + after.before_s < (ends_s := one.began_s + one.busy_s)
    )


def _load(here: Site, study: tuple[str, bytes], rate: float, seconds: float, folder: Path) -> Load:
    """Let Locust send studies, and wait until all have their results.

    Raises:
        RuntimeError: a study did not succeed, or Locust saw an error.
    """
    file, took = folder / "load.zip", folder / "took.jsonl"
    file.write_bytes(study[1])
    took.write_text("")
    environment = {"BENCH_STUDY": str(file), "BENCH_TOOK": str(took), "BENCH_RATE": str(rate)}
    command = [
        *python_with("locust"),
        "-m",
        "locust",
        "--locustfile",
        "tests/bench/locustfile.py",
        "--headless",
        "--only-summary",
        "--users",
        "1",
    ]
    command += ["--run-time", f"{seconds:.0f}s", "--stop-timeout", "600", "--host", here.url]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = sorted(map(json.loads, took.read_text().splitlines()), key=lambda line: line["came_s"])
    if done.returncode or not lines or any(line["status"] != "succeeded" for line in lines):
        raise RuntimeError(f"The load did not go through:\n{done.stdout[-3000:]}")
    ends = max(line["came_s"] + line["took_s"] for line in lines)
    columns = {name: [line[name] for line in lines] for name in PARTS}
    turn_s = _turn_s(_Timed(*(line[name] for name in _Timed._fields)) for line in lines)
    return {"rate": rate, **columns, "turn_s": turn_s, "drained_s": ends - lines[-1]["came_s"]}

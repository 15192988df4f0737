"""Measure a deployment's capacity, load it with a fifth more for ten minutes, and count the outcomes.

python -m tests.load [--minutes 10] [--write docs/reliability.md]
"""

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil
from tests.chaos.site import Site, site
from tests.markdown_tables import replace_block
from tests.overlay import python_with

from metseg import phantom
from metseg.imaging import encode_png

ROUNDS = 4
SHORT_PER_ROUND = 7
OVERLOAD = 1.2
USERS = 20
GOOD_SHARE = 0.8  # Locust's mix: of ten tasks, seven single slices and one patient
SAMPLE_S = 5.0
OURS = ("api", "worker")
SERVICES = ("api", "worker", "redis", "store")
DRAIN_S = 600.0
FLAT_MIB_A_MINUTE = 4.0
STATED = {"202", "415", "422", "400", "503"}


class Sample(NamedTuple):
    """The resident memory of the services at one moment, in MiB."""

    at_s: float
    memory: dict[str, float]


class Load(NamedTuple):
    """The outcome of a load."""

    capacity: float
    minutes: float
    accepted: int
    statuses: dict[str, int]
    lost: int
    drained_s: float
    slopes: dict[str, float]


def prepare(folder: Path) -> None:
    """One slice and one patient of 24 slices, drawn."""
    pixels = phantom.head(7, slices=24, lesions=4).volume.pixels
    (folder / "slice.png").write_bytes(encode_png(pixels[12]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for index, each in enumerate(pixels):
            archive.writestr(f"s_{index:03d}.png", encode_png(each))
    (folder / "patient.zip").write_bytes(packed.getvalue())


def capacity(http: httpx.Client, folder: Path) -> float:
    """Jobs per second of the mix, from the first submission to the last end."""
    names = (["slice.png"] * SHORT_PER_ROUND + ["patient.zip"]) * ROUNDS
    ended(http, submit(http, folder, "slice.png"))  # the model is loaded
    began = time.monotonic()
    for job_id in [submit(http, folder, name) for name in names]:
        ended(http, job_id)
    return len(names) / (time.monotonic() - began)


def submit(http: httpx.Client, folder: Path, name: str) -> str:
    """Submit a study; returns the job's id."""
    answer = http.post("/v1/jobs", files=[("files", (name, (folder / name).read_bytes()))])
    answer.raise_for_status()
    return str(answer.json()["id"])


def ended(http: httpx.Client, job_id: str, limit_s: float = DRAIN_S) -> bool:
    """Whether a job ends in time, succeeded or failed with a reason; it is checked at least once."""
    deadline = time.monotonic() + limit_s
    while True:
        late = time.monotonic() >= deadline
        with contextlib.suppress(httpx.TransportError):
            answer = http.get(f"/v1/jobs/{job_id}", params={"wait": 0 if late else 20})
            if answer.status_code == httpx.codes.OK and answer.json()["status"] in ("succeeded", "failed"):
                return True
            if answer.status_code == httpx.codes.NOT_FOUND:
                return False
        if late:
            return False
        time.sleep(0.2)


def watch(here: Site, stop: threading.Event, samples: list[Sample]) -> None:
    """Take samples until `stop` is set."""
    began = time.monotonic()
    form = "{{.State.Pid}}"
    first = {name: int(here.docker("inspect", "--format", form, here.box(name))) for name in SERVICES}
    while not stop.wait(SAMPLE_S):
        samples.append(Sample(time.monotonic() - began, {name: resident_mib(pid) for name, pid in first.items()}))


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its descendants; shared pages count for each."""
    total = 0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a child replaced meanwhile
            total += process.memory_info().rss
    return total / 2**20


def slopes(samples: list[Sample]) -> dict[str, float]:
    """MiB per minute of each service in the second half, by least squares."""
    half = [each for each in samples if each.at_s >= samples[-1].at_s / 2]
    minutes = np.array([each.at_s / 60 for each in half])
    return {
        service: float(np.polyfit(minutes, [each.memory[service] for each in half], 1)[0])
        for service in samples[-1].memory
    }


def answers(http: httpx.Client) -> dict[str, int]:
    """The number of submissions by status, from the gateway's metrics."""
    pattern = re.compile(r'^metseg_http_requests_total\{method="POST",route="/v1/jobs",status="(\d+)"\} ([\d.e+]+)')
    found = [pattern.match(line) for line in http.get("/metrics").text.splitlines()]
    return {each[1]: int(float(each[2])) for each in found if each}


def run(here: Site, minutes: float) -> Load:
    """Measure, load, drain, and count."""
    with tempfile.TemporaryDirectory() as scratch, httpx.Client(base_url=here.api_url, timeout=60) as http:
        folder, kept = Path(scratch), Path(scratch) / "kept"
        prepare(folder)
        kept.touch()
        rate = capacity(http, folder)
        print(f"capacity: {rate:.2f} jobs/s", flush=True)
        before = answers(http)
        stop, samples = threading.Event(), list[Sample]()
        watcher = threading.Thread(target=watch, args=(here, stop, samples))
        watcher.start()
        a_user = OVERLOAD * rate / GOOD_SHARE / USERS
        environment = {"LOAD_STUDIES": scratch, "LOAD_KEPT": str(kept), "LOAD_RATE_PER_USER": str(a_user)}
        command = [*python_with("locust"), "-m", "locust", "--locustfile", "tests/load/locustfile.py"]
        command += ["--headless", "--only-summary"]
        command += ["--users", str(USERS), "--spawn-rate", "5", "--run-time", f"{minutes * 60:.0f}s"]
        subprocess.run([*command, "--host", here.api_url], env=os.environ | environment, check=False)
        stop.set()
        watcher.join()
        began = time.monotonic()
        ids = kept.read_text(encoding="utf-8").split()
        lost = sum(not ended(http, job_id, began + DRAIN_S - time.monotonic()) for job_id in ids)
        drained_s = time.monotonic() - began
        statuses = {status: count - before.get(status, 0) for status, count in answers(http).items()}
        return Load(rate, minutes, len(ids), statuses, lost, drained_s, slopes(samples))


def broken(load: Load) -> list[str]:
    """The promises that did not hold."""
    unstated = {status: count for status, count in load.statuses.items() if count and status not in STATED}
    found = [f"undocumented answers: {unstated}"] if unstated else []
    found += [f"{load.lost} jobs lost"] if load.lost else []
    growing = {
        name: round(slope, 1) for name, slope in load.slopes.items() if name in OURS and slope > FLAT_MIB_A_MINUTE
    }
    return found + ([f"memory grows, MiB per minute: {growing}"] if growing and load.minutes >= 5 else [])


def table(load: Load) -> str:
    """The figures as Markdown."""
    asked = OVERLOAD * load.capacity
    by_status = ", ".join(f"{count} × {status}" for status, count in sorted(load.statuses.items()) if count)
    rows = {
        "capacity, the mix of 7 slices and a patient of 24": f"{load.capacity:.2f} jobs/s",
        f"load, for {load.minutes:g} minutes": f"{asked:.2f} jobs/s, and a quarter more of bad input and hang-ups",
        "submissions by answer": by_status,
        "accepted": str(load.accepted),
        "lost": str(load.lost),
        "until the queue was empty": f"{load.drained_s:.0f} s",
        "memory in the second half": ", ".join(f"{name} {slope:+.1f}" for name, slope in load.slopes.items())
        + " MiB per minute",
    }
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {figure} |" for name, figure in rows.items())]
    load_average = os.getloadavg()[2]
    lines += ["", f"Run on {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores, which also drove the load; the load"]
    return "\n".join([*lines, f"average was {load_average:.1f}, other work on the machine included."]) + "\n"


def main() -> int:
    """Run it; 1 if a promise did not hold."""
    parser = argparse.ArgumentParser(prog="tests.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--write", type=Path, help="the page whose table is renewed")
    options = parser.parse_args()
    with site("metseg-load", small_disk=False, METSEG_QUEUE_LIMIT="40") as here:
        load = run(here, options.minutes)
    print(table(load))
    faults = broken(load)
    print("\n".join(faults) or "kept")
    if options.write:
        replace_block(options.write, "load", table(load))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

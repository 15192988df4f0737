"""The largest resident sets of gateway and worker, by upload size and by number of slices."""

import argparse
from pathlib import Path

from tests.bench import page
from tests.bench.site import Site
from tests.bench.studies import archive, heavy

from metseg.client import Client
from metseg.settings import MIB

__all__ = ["memory"]


def memory(here: Site, client: Client, options: argparse.Namespace, folder: Path) -> None:
    """Measure, and write the table."""
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
        shown = [f"{peaks[part] / MIB:.0f} (+{rise[part]:.0f})" for part in peaks]
        cells.append([title, f"{len(content) / 1e6:.0f}", *shown, job.status])
    head = ["upload", "MB", "gateway, MiB", "worker, MiB", "outcome"]
    notes = ["The largest resident set of one process of the part, and by how much the upload raised it."]
    page.keep("memory", on, {"head": head, "cells": cells, "notes": notes}, figures)

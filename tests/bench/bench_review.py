"""What a review costs: the request through a gateway, on a study of 155 slices of 240 x 240 with 12 lesions.

    python -m tests.bench.bench_review [--runs 9]

The gateway runs in this process, with a store in a local folder. Its time includes HTTP, the store, and DICOM for the
study that came as DICOM.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from tests.dicoms import volume_of, zipped
from tests.gateways import Gateway, begin, png, promote_tiny, running
from tests.models import tiny_card
from tests.servers import redis_server

from metseg.contracts import OperatingPoint
from metseg.formats import dicom
from metseg.imaging import Volume, label_lesions, lesions
from metseg.inference import Segmentation, StructureMap
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, series_files
from metseg.results import build_artefacts, build_result
from metseg.settings import MIB, Settings

SLICES, SIDE_PX, LESIONS = 155, 240, 12
STROKE = [number for row in range(20) for number in ((70 * SIDE_PX + 90 + row) * SIDE_PX + 100, 20)]
"""A brush of 20 x 20 pixels on one slice, as runs."""


def main() -> None:
    """Print a table of the times."""
    parser = argparse.ArgumentParser("bench_review", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    phantom = head(5, slices=SLICES, size_px=SIDE_PX, lesions=LESIONS, spacing_mm=(1.0, 1.0, 1.0))
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    series = series_files(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"])
    as_dicom = volume_of({"series.zip": zipped(series)})
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs; median (minimum to maximum) of {runs} runs, ms")
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        settings = Settings(store_directory=Path(folder) / "store", **redis.settings())
        with running(settings) as gateway:
            promote_tiny(gateway.store)
            for name, volume in (("NIfTI", phantom.volume), ("DICOM", as_dicom)):
                _measure(gateway, name, volume, phantom.mask, runs)


def _measure(gateway: Gateway, name: str, volume: Volume, mask: np.ndarray, runs: int) -> None:
    job_id = _finished(gateway, volume, mask)
    peaks = [lesion["peak"] for lesion in gateway.http.get(f"/v1/jobs/{job_id}/result").json()["lesions"]]
    reviews = {
        "one lesion rejected": {"lesions": [{"voxel": peaks[0], "decision": "reject"}]},
        "a stroke of the brush": {"corrections": {"core": {"added": STROKE}}},
        "both thresholds": {"thresholds": {"core": 0.4, "whole": 0.4}},
    }
    for what, review in reviews.items():
        times = [_put(gateway.http, job_id, review) for _ in range(runs + 1)][1:]
        print(f"| {name}, {what} | {statistics.median(times):.0f} ({min(times):.0f} to {max(times):.0f}) |")
    print(f"peak memory so far {_peak_mib():.0f} MiB")


def _put(http: httpx.Client, job_id: str, review: dict[str, object]) -> float:
    """Milliseconds of a review."""
    begun = time.perf_counter()
    http.put(f"/v1/jobs/{job_id}/review", json=review, headers={"If-Match": "*"}).raise_for_status()
    return 1000 * (time.perf_counter() - begun)


def _finished(gateway: Gateway, volume: Volume, mask: np.ndarray) -> str:
    """A job whose core is `mask`, in a whole that is a little larger."""
    job_id = gateway.accepted(png()).id
    assert begin(gateway.runner, job_id) is not None
    core = np.where(mask, np.float32(0.8), np.float32(0.1))
    around = mask.copy()
    for axis in (0, 1, 2):
        around |= np.roll(around, 2, axis) | np.roll(around, -2, axis)
    whole = np.where(around, np.float32(0.7), np.float32(0.1))
    structures = {
        "core": StructureMap(core, mask, OperatingPoint(), 0),
        "whole": StructureMap(whole, around, OperatingPoint(), 0),
    }
    found = lesions.measure(mask, volume.spacing_mm, core, volume.affine)
    segmentation = Segmentation(structures, "core", found, ())
    artefacts = build_artefacts(volume, segmentation)
    result = build_result(job_id, volume, segmentation, tiny_card(b"model"), {})
    if volume.source == "dicom":
        run = dicom.AlgorithmRun("tiny", result.model_version, job_id)
        files, _ = dicom.write_results(volume, label_lesions(mask), found, run, around)
        artefacts |= files | dicom.store_source(volume)
        result = result.model_copy(update={"dicom": bool(files)})
    gateway.runner.finish(job_id, result, artefacts)
    return job_id


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / MIB


if __name__ == "__main__":
    main()

"""The speed of the served model, compared with other libraries' networks and the machine's limit.

    make bench ARGS="--only model volume"

Everything takes turns, so that other load on the machine affects all; ratios are computed within each round. Networks
have random weights, which cost as much as trained ones.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch
from tests.bench import page, peers
from tests.bench.bare import STARTER
from tests.bench.whole import Whole

from metseg import formats, phantom
from metseg.contracts import ModelCard
from metseg.imaging import encode_png
from metseg.inference import INPUT, OnnxPredictor, segment
from metseg.parallel import cpu_quota
from metseg.settings import Limits
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.networks import NETWORKS, create_network

PARTS = ("model", "volume")
WIDTH, SIDE = 16, 256
PHASES = {"read": "read", "predict": "prepare and predict", "know": "out-of-distribution score", "report": "the rest"}
SERVED = "ours as served: a patient end to end, per slice"

Call = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the requested parts."""
    parser = argparse.ArgumentParser("bench_speed", description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(PARTS), help="of model, volume; others are not of this bench")
    parser.add_argument("--data", type=Path, help="folder of TCGA_* patients; default: a drawn head")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    options, _ = parser.parse_known_args(arguments)
    torch.set_num_threads(cpu_quota())
    wanted = [part for part in PARTS if part in options.only]
    for part in wanted:
        {"model": model, "volume": volume}[part](options.data, options.rounds)


def served(name: str = "model.onnx") -> OnnxPredictor:
    """The starter model, in 8 or in 32 bits."""
    card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
    return OnnxPredictor(card, (STARTER / name).read_bytes(), cpu_quota())


def patient(data: Path | None) -> list[tuple[str, bytes]]:
    """The files of a patient of about 30 slices, by name."""
    if data is None:
        pixels = phantom.head(5, slices=30).volume.pixels
        return [(f"s_{index:03d}.png", encode_png(each)) for index, each in enumerate(pixels)]
    folders = {folder: len(list(folder.glob("*_mask.tif"))) for folder in sorted(data.glob("TCGA_*"))}
    chosen = min(folders, key=lambda folder: abs(folders[folder] - 30))
    files = [file for file in sorted(chosen.glob("*.tif")) if not file.stem.endswith("_mask")]
    return [(file.name, file.read_bytes()) for file in files]


def uploads(files: Sequence[tuple[str, bytes]]) -> list[formats.Upload]:
    """The files as a worker opens them."""
    return [formats.Upload(name, io.BytesIO(content), None) for name, content in files]


def durations(calls: dict[str, Call], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each call, in turn; the first round warms up and does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def model(data: Path | None, rounds: int) -> None:
    """ms per slice of all networks, and the ratio to ours as served."""
    on = page.machine()
    files, predictor = patient(data), served()
    count = len(files)
    calls, mib = _networks()
    calls = {
        SERVED: lambda: segment(formats.read_volume(uploads(files), Limits(), threads=cpu_quota()), predictor),
        **calls,
    }
    mib[SERVED] = (STARTER / "model.onnx").stat().st_size / 2**20
    square = torch.randn(2048, 2048)
    calls["a product of two 2048x2048 matrices"] = lambda: square @ square
    times = durations(calls, rounds)
    product = times.pop("a product of two 2048x2048 matrices")
    peak = [2 * 2048**3 / wall / 1e9 for wall, _ in product]
    ours = [wall / count for wall, _ in times[SERVED]]
    cells, figures = [], {}
    for name, both in times.items():
        slices = count if name == SERVED else 1
        wall, cpu = ([1000 * one[which] / slices for one in both] for which in (0, 1))
        ratios = [one / 1000 / mine for one, mine in zip(wall, ours, strict=True)]
        figures[name] = {"wall_ms": wall, "cpu_ms": cpu, "ratios": ratios, "mib": mib[name]}
        cells.append([name, page.spread(wall), f"{median(cpu):.1f}", page.spread(ratios), f"{mib[name]:.1f}"])
    head = ["network", "ms per slice", "CPU ms per slice", "times ours as served", "MiB"]
    notes = [
        f"Medians (least to most) of {rounds} rounds in turn, {cpu_quota()} threads. Ours as served reads {count} "
        "slices of 256x256, prepares them, predicts the core at 256x256 and the whole at 128x128, cropped to the head, "
        "and brings masks, measures and probabilities back; the others get one prepared slice of 256x256. "
        f"The machine's limit, a product of two large matrices in torch: {page.spread(peak, 0)} GFLOP/s in 32 bits."
    ]
    page.keep("model", on, {"head": head, "cells": cells, "notes": notes}, figures)


def _networks() -> tuple[dict[str, Call], dict[str, float]]:
    """Every network on one slice: ours in onnxruntime and torch, and the peers in torch."""
    slices = torch.randn(1, 3, SIDE, SIDE)
    titles = {name: network.title for name, network in NETWORKS.items()}
    named = {f"ours, {title}": create_network(name, WIDTH) for name, title in titles.items()}
    named |= {title: peer(WIDTH) for title, peer in peers.TIMED.items()}
    calls: dict[str, Call] = {}
    mib: dict[str, float] = {}
    for title, network in named.items():
        network.eval()
        if title.startswith("ours"):
            exported = to_onnx(network)
            calls[f"{title} 16, 256x256, 32 bits, onnxruntime"] = _in_onnxruntime(exported)
            mib[f"{title} 16, 256x256, 32 bits, onnxruntime"] = len(exported) / 2**20
        key = f"{title}, 256x256, torch"
        calls[key] = lambda network=network: _without_gradient(network, slices)
        mib[key] = sum(weight.numel() * 4 for weight in network.parameters()) / 2**20
    return calls, mib


@torch.inference_mode()
def _without_gradient(network: torch.nn.Module, slices: torch.Tensor) -> object:
    return network(slices)


def _in_onnxruntime(exported: bytes) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_quota()
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    slices = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    return lambda: session.run(None, {INPUT: slices})


def volume(data: Path | None, rounds: int) -> None:
    """A long series and a patient, from bytes to artefacts, phase by phase."""
    on = page.machine()
    pixels = phantom.head(5, slices=155, size_px=240, spacing_mm=(1.0, 1.0, 1.0)).volume.pixels
    studies = {
        "155 slices of 240x240": [(f"s_{index:03d}.png", encode_png(each)) for index, each in enumerate(pixels)],
        "a patient of 256x256": patient(data),
    }
    cells, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        whole = Whole(Path(folder))
        requests = {title: whole.upload(files) for title, files in studies.items()}
        laps: dict[str, list[dict[str, float]]] = {title: [] for title in studies}
        for turn in range(max(rounds // 2, 2) + 1):
            for title, request in requests.items():
                seconds = whole(request)
                if turn:
                    laps[title].append(seconds)
    for title, files in studies.items():
        count, sums = len(files), [sum(lap.values()) for lap in laps[title]]
        shares = {phase: median(lap[name] for lap in laps[title]) for name, phase in PHASES.items()}
        figures[title] = {"slices": count, "seconds": laps[title]}
        cells.append(
            [
                f"{title}: {count} slices",
                page.spread(sums, 2),
                page.spread([1000 * one / count for one in sums]),
                *(f"{1000 * share / count:.1f}" for share in shares.values()),
            ]
        )
    head = ["study", "seconds", "ms per slice", *(f"{phase}, ms per slice" for phase in PHASES.values())]
    notes = [
        "From the uploaded bytes to the artefacts that are stored, in one process without services. Pictures are drawn "
        "and probabilities packed while the network computes."
    ]
    page.keep("volume", on, {"head": head, "cells": cells, "notes": notes}, figures)


if __name__ == "__main__":
    main()

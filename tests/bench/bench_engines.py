"""OpenVINO against onnxruntime on the CPU: the starter model, in 8 and in 32 bits, over the slices of a study.

    uv run --no-project --with openvino python -m tests.bench.bench_engines

Both engines get as many threads as there are CPUs: onnxruntime as in serving, one slice per thread; OpenVINO with its
request queue and its throughput hint, once with the model's free sizes and once compiled for this study's size alone.
All take turns.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import numpy.typing as npt
import openvino
from tests.bench import page
from tests.bench.bare import STARTER
from tests.bench.studies import SLICES

from metseg import phantom
from metseg.contracts import ModelCard
from metseg.imaging import Preprocessor
from metseg.inference import INPUT, OnnxPredictor
from metseg.parallel import cpu_quota, parallel_map

FILES = {"8 bits": "model.onnx", "32 bits": "model-fp32.onnx"}
CLEARLY = 1.25
"""The speed-up that would make OpenVINO worth a second engine."""

Maps = npt.NDArray[np.float32]
Engine = Callable[[Maps], Maps]
"""Slices (slice, row, column, channel) to probabilities (slice, row, column)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser("bench_engines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    options = parser.parse_args(arguments)
    on = page.machine()
    card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
    prepared = Preprocessor(card.preprocessing).prepare(phantom.head(5, slices=SLICES).volume)
    slices = prepared.tensor(slice(0, SLICES))
    engines, load_ms = _engines(card, slices.shape)
    maps = {name: engine(slices) for name, engine in engines.items()}  # warms up
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(options.rounds):
        for name, engine in engines.items():
            wall, cpu = time.perf_counter(), time.process_time()
            engine(slices)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    cells, figures = [], {}
    for name, both in times.items():
        bits = name.split(", ")[1]
        ours = [wall for wall, _ in times[f"onnxruntime, {bits}"]]
        wall, cpu = ([1000 * one[which] / SLICES for one in both] for which in (0, 1))
        ratios = [mine / wall for mine, (wall, _) in zip(ours, both, strict=True)]
        off = float(np.abs(maps[name] - maps["onnxruntime, 32 bits"]).max())
        figures[name] = {"wall_ms": wall, "cpu_ms": cpu, "ratios": ratios, "load_ms": load_ms[name], "off": off}
        cells.append(
            [
                name,
                page.spread(wall),
                f"{median(cpu):.1f}",
                page.spread(ratios, 2),
                f"{load_ms[name]:.0f}",
                f"{off:.3f}",
            ]
        )
    height, width = slices.shape[1:3]
    head = [
        "engine",
        "ms per slice",
        "CPU ms per slice",
        "times as fast as onnxruntime",
        "ms to load",
        "probability off by",
    ]
    notes = [
        f"The starter model over {SLICES} prepared slices of {height}x{width}, {cpu_quota()} threads, medians (least "
        f"to most) of {options.rounds} rounds in turn; OpenVINO {openvino.get_version().split('-')[0]}. Probabilities "
        "are compared with those of onnxruntime in 32 bits, at the pixel where they differ most.",
        verdict({name: median(each["ratios"]) for name, each in figures.items()}),
    ]
    page.keep("engines", on, {"head": head, "cells": cells, "notes": notes}, figures)


def verdict(ratios: dict[str, float]) -> str:
    """The decision, from the medians."""
    best = max((name for name in ratios if name.startswith("OpenVINO")), key=ratios.__getitem__)
    free = max(ratio for name, ratio in ratios.items() if name.startswith("OpenVINO") and name.endswith("any size"))
    words = f"OpenVINO is at best {ratios[best]:.2f} times as fast ({best}), with free sizes {free:.2f} times"
    if free >= CLEARLY:
        return f"{words}: from {CLEARLY} times on it is worth a second engine."
    return f"{words}: below {CLEARLY} times it is not worth a second engine, so onnxruntime alone serves."


def _engines(card: ModelCard, shape: tuple[int, ...]) -> tuple[dict[str, Engine], dict[str, float]]:
    """All engines by name, and the milliseconds that each took to load."""
    engines: dict[str, Engine] = {}
    load_ms = {}
    for bits, file in FILES.items():
        model = (STARTER / file).read_bytes()
        makers: dict[str, Callable[[], Engine]] = {
            f"onnxruntime, {bits}": lambda model=model: _onnxruntime(card, model),
            f"OpenVINO, {bits}, any size": lambda model=model: _openvino(model, None),
            f"OpenVINO, {bits}, this size": lambda model=model: _openvino(model, [1, shape[3], *shape[1:3]]),
        }
        for name, make in makers.items():
            began = time.perf_counter()
            engines[name] = make()
            load_ms[name] = 1000 * (time.perf_counter() - began)
    return engines, load_ms


def _onnxruntime(card: ModelCard, model: bytes) -> Engine:
    predictor = OnnxPredictor(card, model, cpu_quota())

    def engine(slices: Maps) -> Maps:
        one_by_one = (slices[index : index + 1] for index in range(len(slices)))
        return np.concatenate(list(parallel_map(predictor, one_by_one, predictor.max_concurrency)))

    return engine


def _openvino(model: bytes, size: list[int] | None) -> Engine:
    core = openvino.Core()
    network = core.read_model(model)
    if size is not None:
        network.reshape({INPUT: size})
    properties = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": cpu_quota()}
    compiled = core.compile_model(network, "CPU", properties)
    queue = openvino.AsyncInferQueue(compiled)

    def engine(slices: Maps) -> Maps:
        found = np.empty(slices.shape[:3], np.float32)

        def done(request: openvino.InferRequest, index: int) -> None:
            found[index] = request.get_output_tensor(0).data[0, 0]

        queue.set_callback(done)
        for index, each in enumerate(slices):
            queue.start_async({INPUT: np.ascontiguousarray(each[None].transpose(0, 3, 1, 2))}, index)
        queue.wait_all()
        return found

    return engine


if __name__ == "__main__":
    main()

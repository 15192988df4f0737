"""Ours against other libraries' networks: the same patients, samples, steps, loss, optimiser and evaluation.

    python -m tests.bench.bench_peers --data FOLDER --epochs 6

Only the network differs, so the trainer's own loop does everything. A stopped bench
resumes with the same command; a network that has been evaluated is not evaluated again. Everything that names patients
stays in `--folder`; `--table` gets the figures that may be published.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tests.bench import peers, tables
from torch.utils.flop_counter import FlopCounterMode

from metseg.contracts import Evaluation
from metseg_trainer.evaluation import compare_networks, evaluate_networks
from metseg_trainer.networks import NETWORKS, SegmentationNetwork, channels_last
from metseg_trainer.runs import make_plan, train
from metseg_trainer.training import CURVES, Plan, git_revision, load_network, packages

OURS = tuple(NETWORKS)
NAMES = (*OURS, *peers.PEERS)
FIGURES = "figures.json"
ROUNDS = 15


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and evaluate the networks that have no results yet, and write the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    plan = make_plan(
        options.data, options.folder, preset=options.preset, networks=options.networks, epochs=options.epochs
    )
    for name in plan.networks:
        alone = replace(plan, networks=(name,))
        train(alone, store=None)
        if not (plan.folder / name / FIGURES).exists():
            _judge(alone)
    report = table(plan)
    tables.write(report, markdown, "peers", plan.folder, options.table)


def _parser() -> argparse.ArgumentParser:
    parser = tables.parser("bench_peers", __doc__)
    parser.add_argument("--networks", nargs="+", choices=NAMES, default=list(NAMES), help="default: all")
    return parser


def _judge(plan: Plan) -> None:
    """The figures of a plan's one network, by patient and overall."""
    [name] = plan.networks
    evaluation = evaluate_networks(plan, corrupted=False)
    figures = {
        "dice": evaluation.results[name].dice,
        "test": evaluation.results[name].card().model_dump(),
        "implanted": evaluation.implanted[name].card().model_dump() if name in evaluation.implanted else None,
        **evaluation.predictors[name].operating_points["whole"].model_dump(),
    }
    (plan.folder / name / FIGURES).write_text(json.dumps(figures, indent=1))


def table(plan: Plan) -> dict[str, Any]:
    """All networks with their costs and figures; no patient is named."""
    networks = {name: channels_last(load_network(plan.checkpoint(name))) for name in plan.networks}
    figures = {name: json.loads((plan.folder / name / FIGURES).read_text()) for name in plan.networks}
    slices = torch.zeros(1, 3, *plan.config.patch_size).to(memory_format=torch.channels_last)
    milliseconds = ms_per_slice(networks, slices)
    rows = []
    for name, network in networks.items():
        test = Evaluation.model_validate(figures[name]["test"])
        rows.append(
            {
                "network": name,
                "title": network.title,
                "ours": name in OURS,
                "parameters": network.parameter_count,
                "gflop": gflop(network, slices),
                "minutes": _minutes(plan.folder / name / CURVES),
                "ms_a_slice": milliseconds[name],
                "dice": test.measures["dice"].model_dump(),
                "lowest_dice": min(figures[name]["dice"].values()),
                "sensitivity": test.measures["sensitivity"].mean,
                "implanted": _found(figures[name]["implanted"]),
            }
        )
    rows.sort(key=lambda row: -row["dice"]["mean"])
    return {
        "preset": plan.preset,
        "recipe": json.loads((plan.folder / "config.json").read_text()),
        "steps": plan.config.total_steps,
        "input": list(plan.config.patch_size),
        "patients": {side: len(getattr(plan.split, side)) for side in ("train", "validation", "test")},
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "git_revision": git_revision(),
        "packages": packages(),
        "networks": rows,
        "comparisons": _comparisons(rows, figures),
    }


def gflop(network: SegmentationNetwork, slices: torch.Tensor) -> float:
    """GFLOP of one forward pass; a multiplication and an addition are two operations."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(slices)
    return float(counter.get_total_flops()) / 1e9


@torch.inference_mode()
def ms_per_slice(networks: dict[str, SegmentationNetwork], slices: torch.Tensor) -> dict[str, float]:
    """The median time of one slice in torch; the networks take turns, so that other load on the machine affects all."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(ROUNDS + 1):
        for name, network in networks.items():
            began = time.perf_counter()
            network(slices)
            if turn:  # warms up
                times[name].append(time.perf_counter() - began)
    return {name: 1000 * median(taken) for name, taken in times.items()}


def _minutes(curves: Path) -> float:
    return float(sum(row["seconds"] for row in json.loads(curves.read_text())) / 60)


def _found(figures: dict[str, Any] | None) -> dict[str, float] | None:
    return None if figures is None else tables.found(Evaluation.model_validate(figures).lesions)


def _comparisons(rows: Sequence[dict[str, Any]], figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The better one of ours against each peer, on the same patients."""
    ours = next((row for row in rows if row["ours"]), None)
    if ours is None:
        return []
    return [
        compare_networks(
            (ours["title"], row["title"]), (figures[ours["network"]]["dice"], figures[row["network"]]["dice"])
        ).model_dump(mode="json")
        for row in rows
        if not row["ours"]
    ]


def markdown(report: dict[str, Any]) -> str:
    """The table as Markdown."""
    height, width = report["input"]
    head = (
        "network", "parameters", f"GFLOP at {height}x{width}", "minutes of training", "ms per slice", "mean Dice (95%)",
        "median", "lowest", "sensitivity", "drawn metastases from 6 mm", "false positives",
    )  # fmt: skip
    cells = []
    for row in report["networks"]:
        dice, drawn = row["dice"], row["implanted"]
        interval = dice["mean_interval"]
        cells.append(
            (
                f"**{row['title']}**" if row["ours"] else row["title"],
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['gflop']:.2f}",
                f"{row['minutes']:.0f}",
                f"{row['ms_a_slice']:.0f}",
                f"{dice['mean']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})",
                f"{dice['median']:.3f}",
                f"{row['lowest_dice']:.2f}",
                f"{row['sensitivity']:.2f}",
                "" if drawn is None else f"{drawn['sensitivity']:.2f}",
                "" if drawn is None else f"{drawn['false_positives']:.1f}",
            )
        )
    patients = report["patients"]
    note = (
        f"{report['steps']} steps each on {patients['train']} patients, {patients['validation']} for operating points, "
        f"evaluated on {patients['test']}; threads: {report['threads']}. The last two columns, sensitivity and false "
        "positives per patient, are of metastases drawn into the test patients."
    )
    lines = [*tables.rows(head, cells), "", note, "", *(f"- {one['words']}" for one in report["comparisons"])]
    return "\n".join(lines) + "\n"


if __name__ in ("__main__", "__mp_main__"):  # the latter where several processes share a training
    peers.register()
if __name__ == "__main__":
    main()

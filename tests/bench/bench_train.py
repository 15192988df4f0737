"""Training throughput: our loop against the plain one, and our networks against other libraries', in one run.

    python -m tests.bench.bench_train --data FOLDER

All networks learn from the same slices in batches of the same size; ours in our loop and in the plain one
(`tests.bench.loops`), the others with both kinds of step, of which the faster counts. Each round runs all loops for a
few steps one after another, so that other load on the machine slows all of them; ratios are computed within each round.
`cached` repeats steps on batches in memory: the network alone.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median

import torch
from tests.bench import page, peers
from tests.bench.loops import Loop, PlainSlices, forever, numbered, our_step, plain_step, speeds

from metseg.contracts import Preprocessing
from metseg.parallel import cpu_quota
from metseg_trainer.data import Patient, SampleDataset, prepare_sources, scan_folder, write_phantoms
from metseg_trainer.networks import NETWORKS, create_network
from metseg_trainer.training import PRESETS, TrainingConfig, amp_dtype

TITLES = {name: network.title for name, network in NETWORKS.items()}
PATIENTS = 12
WANTED = 1.3
HELD = 4
PLAIN, PLAIN_CACHED, OURS, OURS_CACHED = "plain", "plain, cached", "ours", "ours, cached"
STEPS = {PLAIN: plain_step, OURS: our_step}

Speeds = Mapping[tuple[str, str], list[float]]
"""Images per second in each round, by network title and loop."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all loops, and write the table into the page of performance."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    config = PRESETS["standard"]
    config = replace(config, sampling=replace(config.sampling, source_shares={"whole": 1.0}))
    names = dict(TITLES) | {title: title for title in peers.LEARNING}
    NETWORKS.update(peers.LEARNING)
    on = page.machine()
    with tempfile.TemporaryDirectory() as place:
        data = options.data or Path(place) / "phantoms"
        if options.data is None:
            write_phantoms(data, PATIENTS)
        patients = scan_folder(data)[0][:PATIENTS]
        compared = loops(patients, Path(place), config, names)
        found = speeds(compared, options.rounds, options.steps, config.batch_size)
    sizes = {title: create_network(name, config.base_width).parameter_count for name, title in names.items()}
    narrow = amp_dtype(torch.device("cpu"))
    height, width = config.patch_size
    notes = [
        f"Medians (least to most) of {options.rounds} rounds in turn, each of {options.steps} steps of "
        f"{config.batch_size} slices of {height}x{width}, {options.threads} threads; our loop computes in "
        f"{narrow or 'float32'}, the plain one in float32. {PATIENTS} patients of "
        f"{'real MRI' if options.data else 'drawn heads'}. The plain loop reads "
        "each slice from its file; other libraries' networks get our samples in either loop, and the faster one is "
        "what ours are compared with.",
        *drawing(found),
        f"Our loop below {WANTED} times the plain one: {', '.join(slow(found)) or 'none'}.",
    ]
    figures = {title: {how: found[title, how] for other, how in found if other == title} for title in sizes}
    page.keep("training", on, {**table(found, sizes), "notes": notes}, figures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="slices for training; phantoms by default")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=4, help="of each loop in a round (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=cpu_quota(), help="default: %(default)s")
    return parser


def loops(patients: list[Patient], prepared: Path, config: TrainingConfig, names: Mapping[str, str]) -> list[Loop]:
    """All loops that are compared: four of each of ours, two of each of the others."""
    sources = prepare_sources(patients, Preprocessing(), config.sampling, config.seed, prepared)
    samples = SampleDataset(sources, config.sampling, config.augmentation, config.patch_size, config.seed)
    batches = numbered(samples, config.batch_size)
    read = forever(PlainSlices(patients, config), config.batch_size)
    held = [next(batches) for _ in range(HELD)]
    made = []
    for name, title in names.items():
        steps = {how: step(name, config) for how, step in STEPS.items()}
        if name in TITLES:
            made += [Loop(title, PLAIN, read, steps[PLAIN]), Loop(title, OURS, batches, steps[OURS])]
            made += [Loop(title, f"{how}, cached", cycle(held), step) for how, step in steps.items()]
        else:
            made += [Loop(title, how, batches, step) for how, step in steps.items()]
    return made


def table(found: Speeds, sizes: Mapping[str, int]) -> page.Table:
    """A row for each network, ours first."""
    cells = []
    fastest = {title: max((found[title, how] for how in STEPS), key=median) for title in sizes}
    ours = [found[title, OURS] for title in TITLES.values()]
    for title, size in sizes.items():
        is_ours = title in TITLES.values()
        cells.append(
            [
                f"ours, {title}" if is_ours else title,
                f"{size / 1e6:.1f} M",
                *(page.spread(found[title, how]) if (title, how) in found else "" for how in (OURS, PLAIN)),
                ratio(found[title, OURS], found[title, PLAIN]) if is_ours else "",
                *("" if is_ours else ratio(mine, fastest[title]) for mine in ours),
            ]
        )
    head = ["network", "parameters", "images/s, our loop", "images/s, plain loop", "times the plain loop"]
    return {"head": [*head, *(f"times as fast: {title}" for title in TITLES.values())], "cells": cells}


def ratio(speed: Sequence[float], other: Sequence[float]) -> str:
    """The ratio of two speeds, round by round."""
    return page.spread([mine / theirs for mine, theirs in zip(speed, other, strict=True)], 2)


def drawing(found: Speeds) -> list[str]:
    """The cost of reading and drawing samples for each of ours, from the run on cached batches."""
    lines = []
    for title in TITLES.values():
        cached = {how: median(found[title, how]) for how in (PLAIN_CACHED, OURS_CACHED)}
        shares = [
            median(
                1 - one / cached for one, cached in zip(found[title, how], found[title, f"{how}, cached"], strict=True)
            )
            for how in (OURS, PLAIN)
        ]
        lines.append(
            f"On cached batches {title} trains at {cached[OURS_CACHED]:.1f} images/s in our loop, so drawing samples "
            f"takes {max(shares[0], 0):.0%} of its time; at {cached[PLAIN_CACHED]:.1f} in the plain one, where it "
            f"takes {max(shares[1], 0):.0%}."
        )
    return lines


def slow(found: Speeds) -> list[str]:
    """Those of ours whose loop misses the required speed-up over the plain one."""
    return [
        title
        for title in TITLES.values()
        if median(mine / plain for mine, plain in zip(found[title, OURS], found[title, PLAIN], strict=True)) < WANTED
    ]


if __name__ == "__main__":
    main()

"""Training throughput: our loop against the plain one, on the same slices, with the same network and batch.

    make bench-train ARGS="--data FOLDER --json FILE"

The plain loop is what public notebooks for these slices do: an item is read from its TIFF files when it is wanted,
gets CLAHE and a z-score, is scaled to the size of our patch and augmented as ours are; PyTorch's defaults do the rest:
NCHW, float32, AdamW without options, the loss read after each step. Neither loop has processes for drawing.

Each round runs all loops for a few steps one after another, so that whatever else the machine does slows all of them;
a ratio is the median over the rounds. `cached` repeats steps on batches that lie in memory: the network alone.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from metseg.contracts import Preprocessing
from metseg.predictor import cpu_quota
from metseg_trainer import dataset, phantoms, sources
from metseg_trainer.augment import Augmentation
from metseg_trainer.losses import supervised
from metseg_trainer.networks import NETWORKS, create
from metseg_trainer.recipe import PRESETS, Recipe
from metseg_trainer.samples import Batches, Samples
from metseg_trainer.training import Training, half

PATIENTS = 12
WANTED = 1.3

Batch = tuple[Tensor, Tensor]
Step = Callable[[Batch], object]


@dataclass
class Loop:
    """What takes a batch and learns from it, and where batches come from."""

    name: str
    batches: Iterator[Batch]
    step: Step

    def images_a_second(self, steps: int, batch: int) -> float:
        """Over some steps, drawing included."""
        begun = time.perf_counter()
        for _ in range(steps):
            self.step(next(self.batches))
        return steps * batch / (time.perf_counter() - begun)


class PlainSlices(Dataset[Batch]):
    """Slices as a notebook reads them."""

    def __init__(self, patients: list[dataset.Patient], recipe: Recipe) -> None:
        self._slices = [one for patient in patients for one in patient.slices]
        self._patch, self._augment = recipe.patch, Augmentation(recipe.patch)
        self._clahe = cv2.createCLAHE(2.0, (8, 8))

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, number: int) -> Batch:
        one = self._slices[number]
        pixels = cv2.imread(str(one.image), cv2.IMREAD_COLOR)
        truth = cv2.imread(str(one.mask), cv2.IMREAD_GRAYSCALE)
        size = self._patch[::-1]
        pixels = cv2.merge([self._clahe.apply(plane) for plane in cv2.split(pixels)])
        pixels, truth = cv2.resize(pixels, size), cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        pixels, truth = self._augment(pixels, truth, number)
        values = pixels.astype(np.float32)
        values = (values - values.mean(axis=(0, 1))) / (values.std(axis=(0, 1)) + 1e-6)
        return torch.from_numpy(values.transpose(2, 0, 1)), torch.from_numpy((truth > 127)[None].astype(np.float32))


def plain_step(name: str, recipe: Recipe) -> Step:
    """What a notebook does with a batch."""
    network = create(name, recipe.base_width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate)

    def step(batch: Batch) -> object:
        slices, truth = batch
        optimizer.zero_grad()
        loss = supervised(network.branches(slices), truth)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(name: str, recipe: Recipe) -> Step:
    """What `fit` does with a batch."""
    training = Training(name, recipe, 1_000_000)
    return lambda batch: training.step(*batch, stop=False)


def loops(name: str, patients: list[dataset.Patient], prepared: Path, recipe: Recipe) -> list[Loop]:
    """All that are compared, the plain one first."""
    samples = Samples(sources.build(patients, Preprocessing(), recipe, prepared), recipe)
    drawn = [
        Loop("plain", _forever(PlainSlices(patients, recipe), recipe.batch), plain_step(name, recipe)),
        *(
            Loop(title, _numbered(samples, how), our_step(name, how))
            for title, how in (("ours, float32", replace(recipe, half=False)), ("ours", recipe))
        ),
    ]
    held = [next(drawn[0].batches) for _ in range(4)]
    cached = [replace(loop, name=f"{loop.name}, cached", batches=cycle(held)) for loop in drawn]
    return [*drawn, *cached]


def _forever(data: PlainSlices, batch: int) -> Iterator[Batch]:
    while True:
        yield from DataLoader(data, batch, shuffle=True, drop_last=True)


def _numbered(samples: Samples, recipe: Recipe) -> Iterator[Batch]:
    yield from DataLoader(samples, batch_sampler=Batches(range(1_000_000), recipe.batch))


def measure(name: str, compared: list[Loop], rounds: int, steps: int, batch: int) -> list[dict[str, object]]:
    """Images a second of each loop, and how many times the plain one's that is."""
    for loop in compared:
        loop.images_a_second(2, batch)
    speeds: dict[str, list[float]] = {loop.name: [] for loop in compared}
    for _ in range(rounds):
        for loop in compared:
            speeds[loop.name].append(loop.images_a_second(steps, batch))
    rows = []
    for loop in compared:
        of = speeds["plain, cached" if loop.name.endswith("cached") else "plain"]
        ratios = [mine / plain for mine, plain in zip(speeds[loop.name], of, strict=True)]
        rows.append(
            {
                "network": name,
                "loop": loop.name,
                "images_per_s": round(statistics.median(speeds[loop.name]), 2),
                "ratio": round(statistics.median(ratios), 2),
                "lowest_ratio": round(min(ratios), 2),
            }
        )
    return rows


def main() -> None:
    """Measure both networks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="slices to learn from; phantoms by default")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    recipe = replace(PRESETS["standard"], shares={"whole": 1.0})
    with tempfile.TemporaryDirectory() as place:
        data = told.data
        if data is None:
            data = Path(place) / "phantoms"
            phantoms.write(data, PATIENTS)
        patients = dataset.scan(data)[0][:PATIENTS]
        rows = [
            row
            for name in told.networks
            for row in measure(
                name, loops(name, patients, Path(place), recipe), told.rounds, told.steps, recipe.batch
            )
        ]  # fmt: skip
    narrow = half(torch.device("cpu"))
    print(
        f"batch {recipe.batch} of {recipe.patch} pixels, {told.threads} threads, ours computes in {narrow or 'float32'}"
    )
    print(f"{'network':16} {'loop':22} {'images/s':>9} {'x plain':>8} {'lowest':>7}")
    for row in rows:
        print("{network:16} {loop:22} {images_per_s:9.2f} {ratio:8.2f} {lowest_ratio:7.2f}".format(**row))
    behind = [row["network"] for row in rows if row["loop"] == "ours" and float(str(row["ratio"])) < WANTED]
    print(f"Below {WANTED} times the plain loop: {', '.join(map(str, behind)) or 'none'}")
    if told.json:
        told.json.write_text(
            json.dumps({"threads": told.threads, "narrow": str(narrow), "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

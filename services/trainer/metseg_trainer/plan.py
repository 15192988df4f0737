"""Plan: all that a training depends on, drawn up once and kept in the run's folder, so that it can be resumed."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from metseg.contracts import Preprocessing
from metseg.errors import DatasetError
from metseg_trainer import dataset, download, phantoms
from metseg_trainer import split as splits
from metseg_trainer.audit import Audit
from metseg_trainer.dataset import Patient
from metseg_trainer.fit import LAST
from metseg_trainer.recipe import PRESETS, Recipe
from metseg_trainer.split import Split

__all__ = ["TITLES", "Plan", "SplitBy", "draw_up"]

TITLES = {"nested-unet": "Nested U-Net (U-Net++)", "attention-unet": "Attention U-Net"}
SMOKE_PATIENTS, SMOKE_SLICES, SMOKE_PX = 8, 8, 128

SplitBy = Literal["patient", "slice"]


@dataclass(frozen=True)
class Plan:
    """What every step of a run has to know.

    Attributes:
        folder: of the run.
        preset: the recipe's name.
        recipe: how the networks are trained.
        networks: keys of `NETWORKS`.
        patients: all of the data set.
        audit: of the data set.
        split: who is learned from, chosen by and tested on.
        split_by: `slice` puts slices of one patient on several sides, to measure what that leak is worth.
        preprocessing: the contract with serving.
        start: folder of an earlier run whose networks are trained further.
    """

    folder: Path
    preset: str
    recipe: Recipe
    networks: tuple[str, ...]
    patients: list[Patient]
    audit: Audit
    split: Split
    split_by: SplitBy = "patient"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    start: Path | None = None

    def side(self, ids: Sequence[str]) -> list[Patient]:
        """The patients of one side of the split."""
        wanted = set(ids)
        return [patient for patient in self.patients if patient.id in wanted]

    def start_of(self, network: str) -> Path | None:
        """The checkpoint that a network goes on from."""
        return None if self.start is None else self.start / network / LAST

    def part(self, name: str, split: Split) -> "Plan":
        """The same with another split, in a folder of its own below this one's."""
        part = replace(self, folder=self.folder / name, split=split)
        part.folder.mkdir(exist_ok=True)
        splits.write(split, part.folder / "split.json")
        return part


def draw_up(
    data: Path,
    folder: Path,
    *,
    preset: str,
    networks: Sequence[str],
    epochs: int | None = None,
    start: Path | None = None,
    split_by: SplitBy = "patient",
) -> Plan:
    """Read the data, split it and write down what is to be done.

    Args:
        data: slices in one of the layouts of `dataset.scan`; where it is empty, the public data are downloaded.
        folder: of the run; made if absent. What an earlier process of the same run wrote there is kept.
        preset: a key of `PRESETS`; `smoke` draws phantoms and looks at no data.
        networks: keys of `NETWORKS`.
        epochs: other than the preset's.
        start: folder of an earlier run, whose networks are trained further.
        split_by: see `Plan`.

    Raises:
        DatasetError: the data cannot be used, the folder holds a run of another recipe, or `start` has learned from
            patients who are tested on here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = PRESETS[preset] if epochs is None else replace(PRESETS[preset], epochs=epochs)
    _keep_configuration(folder, preset, recipe, start, split_by)
    patients, audit = dataset.scan(_source(data, folder, preset))
    _write(folder / "audit.json", audit.to_json())
    if split_by == "slice":
        patients, split = splits.by_slice(patients, recipe.seed)
        splits.write(split, folder / "split.json")
    else:
        split = _split(folder, patients, recipe)
    if start is not None:
        _check_start(start, split)
    return Plan(folder, preset, recipe, tuple(networks), patients, audit, split, split_by, start=start)


def _keep_configuration(folder: Path, preset: str, recipe: Recipe, start: Path | None, split_by: SplitBy) -> None:
    """Write config.json, or refuse to continue a run with another recipe."""
    content = {"preset": preset, **json.loads(json.dumps(asdict(recipe)))}
    if start is not None:
        content["start"] = start.name
    if split_by != "patient":
        content["split_by"] = split_by
    path = folder / "config.json"
    if path.exists() and json.loads(path.read_text()) != content:
        raise DatasetError(
            f"The run in {folder} has another recipe; give the preset and options it began with, or another --name."
        )
    _write(path, json.dumps(content, indent=2) + "\n")


def _source(data: Path, folder: Path, preset: str) -> Path:
    """The folder to learn from: phantoms for `smoke`, the given one, or the public data where that is empty."""
    if preset == "smoke":
        drawn = folder.parent / "phantoms"
        if not drawn.is_dir():
            phantoms.write(drawn, SMOKE_PATIENTS, slices=SMOKE_SLICES, size_px=SMOKE_PX)
        return drawn
    if data.is_dir() and any(path for path in data.iterdir() if not path.name.startswith(".")):
        return data
    fetched = folder.parent / "data" / "Data"
    return fetched if fetched.is_dir() else download.download(fetched.parent)


def _split(folder: Path, patients: Sequence[Patient], recipe: Recipe) -> Split:
    """The run's split, drawn once and checked each time."""
    path = folder / "split.json"
    if not path.exists():
        splits.write(splits.split(patients, recipe.seed), path)
    split = splits.read(path)
    splits.check(split, patients)
    return split


def _check_start(start: Path, split: Split) -> None:
    """Refuse to go on with networks that have learned from patients who are tested or validated on now."""
    seen = set(splits.read(start / "split.json").train)
    if overlap := seen & {*split.test, *split.validation}:
        raise DatasetError(f"The run in {start} has learned from {len(overlap)} patients that this one is judged by.")


def _write(path: Path, text: str) -> None:
    """Whole or not at all: two processes of one run may write the same."""
    partial = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)

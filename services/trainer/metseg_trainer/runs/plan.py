"""Plan: all that a training depends on, drawn up once and kept in the run's folder, so that it can be resumed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from metseg.contracts import Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import REFERENCE_PX
from metseg_trainer.data import dataset, download, phantoms
from metseg_trainer.data import split as splits
from metseg_trainer.data.audit import Audit
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.split import Split
from metseg_trainer.runs.locks import in_turn
from metseg_trainer.training.config import PRESETS, Recipe
from metseg_trainer.training.fit import LAST

__all__ = ["BY_PATIENT", "BY_SLICE", "CONFIG", "PREPARED", "TITLES", "Plan", "draw_up", "write_whole"]

TITLES = {"nested-unet": "Nested U-Net (U-Net++)", "attention-unet": "Attention U-Net"}
SMOKE_PATIENTS, SMOKE_SLICES, SMOKE_PX = 8, 8, 128
BY_PATIENT: Final = "patient"
BY_SLICE: Final = "slice"
CONFIG, SPLIT = "config.json", "split.json"
PREPARED = "prepared"
"""Folder of what samples are drawn from; it can be made again and is no part of the record."""


@dataclass(frozen=True)
class Plan:
    """What every step of a run has to know.

    Attributes:
        run_folder: of the run.
        preset: the recipe's name.
        recipe: how the networks are trained.
        networks: keys of `NETWORKS`.
        patients: all of the data set.
        audit: of the data set.
        split: who is learned from, chosen by and tested on.
        split_by: `patient`; `slice`, which puts slices of one patient on several sides to measure what that leak is
            worth; or in words how the run is parted, each part with a split of its own.
        part: of the run; empty where it is not parted.
        preprocessing: the contract with serving.
        start: folder of an earlier run whose networks are trained further.
        devices: how many processes share each batch; None takes all GPUs.
    """

    run_folder: Path
    preset: str
    recipe: Recipe
    networks: tuple[str, ...]
    patients: list[Patient]
    audit: Audit
    split: Split
    split_by: str = BY_PATIENT
    part: str = ""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    start: Path | None = None
    devices: int | None = None

    @property
    def folder(self) -> Path:
        """Where the files of this part of the run lie."""
        return self.run_folder / self.part

    def side(self, ids: Sequence[str]) -> list[Patient]:
        """The patients of one side of the split."""
        wanted = set(ids)
        return [patient for patient in self.patients if patient.id in wanted]

    def start_of(self, network: str) -> Path | None:
        """The checkpoint that a network goes on from."""
        return None if self.start is None else self.start / network / LAST

    def parted(self, name: str, split: Split) -> "Plan":
        """A part of the run with a split of its own, in a folder of that name.

        Raises:
            DatasetError: the split lets a figure be measured on what was learned, or is not the one that this part of
                the run began with.
        """
        splits.check(split, self.patients)
        part = replace(self, part=name, split=split)
        part.folder.mkdir(exist_ok=True)
        _keep_split(part.folder, split)
        return part


def draw_up(
    data: Path,
    folder: Path,
    *,
    preset: str,
    networks: Sequence[str],
    epochs: int | None = None,
    base_width: int | None = None,
    input_px: int | None = None,
    start: Path | None = None,
    split_by: str = BY_PATIENT,
    devices: int | None = None,
) -> Plan:
    """Read the data, split it and write down what is to be done.

    Args:
        data: slices in one of the layouts of `dataset.scan`; where it is empty, the public data are downloaded.
        folder: of the run; made if absent. What an earlier process of the same run wrote there is kept.
        preset: a key of `PRESETS`; `smoke` draws phantoms and looks at no data.
        networks: keys of `NETWORKS`.
        epochs: other than the preset's.
        base_width: other than the preset's.
        input_px: side of a whole slice in model pixels, of which the head's box is fed; other than serving's usual one.
        start: folder of an earlier run, whose networks are trained further.
        split_by: see `Plan`; a run that is parted has an empty split until it is.
        devices: see `Plan`.

    Raises:
        DatasetError: the data cannot be used, the folder holds a run of another recipe, or `start` has learned from
            patients who are tested on here.
    """
    if start is not None and split_by != BY_PATIENT:
        raise DatasetError("Networks of an earlier run are gone on with only where the split is one by patient.")
    folder.mkdir(parents=True, exist_ok=True)
    preprocessing = Preprocessing() if input_px is None else Preprocessing(pixel_scale=input_px / REFERENCE_PX)
    recipe = _recipe(preset, epochs, base_width, preprocessing)
    _keep_configuration(folder, _configuration(preset, recipe, preprocessing, start, split_by))
    patients, audit = dataset.scan(_source(data, folder, preset))
    write_whole(folder / "audit.json", audit.to_json())
    split = Split((), (), ())
    if split_by == BY_PATIENT:
        split = _split(folder, patients, recipe)
    elif split_by == BY_SLICE:
        patients, split = splits.by_slice(patients, recipe.seed)
        _keep_split(folder, split)
    if start is not None:
        _check_start(start, split)
    return Plan(
        folder, preset, recipe, tuple(networks), patients, audit, split, split_by,
        preprocessing=preprocessing, start=start, devices=devices,
    )  # fmt: skip


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: two processes of one run may write the same."""
    partial = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _recipe(preset: str, epochs: int | None, base_width: int | None, preprocessing: Preprocessing) -> Recipe:
    """The preset with what was asked for in its place; a patch shows as much of a head at any input size."""
    recipe, usual = PRESETS[preset], Preprocessing()
    steps = preprocessing.pixel_scale / usual.pixel_scale / usual.multiple
    rows, columns = (max(1, round(side * steps)) * usual.multiple for side in recipe.patch)
    return replace(
        recipe, epochs=epochs or recipe.epochs, base_width=base_width or recipe.base_width, patch=(rows, columns)
    )  # fmt: skip


def _configuration(
    preset: str, recipe: Recipe, preprocessing: Preprocessing, start: Path | None, split_by: str
) -> dict[str, Any]:
    """What config.json holds: the recipe, and what is not as usual."""
    content = {"preset": preset, **json.loads(json.dumps(asdict(recipe)))}
    if preprocessing != Preprocessing():
        content["pixel_scale"] = preprocessing.pixel_scale
    if start is not None:
        content["start"] = start.name
    if split_by != BY_PATIENT:
        content["split_by"] = split_by
    return content


def _keep_configuration(folder: Path, content: Mapping[str, Any]) -> None:
    """Write config.json, or refuse to continue a run with another recipe."""
    path = folder / CONFIG
    if path.exists() and json.loads(path.read_text()) != content:
        raise DatasetError(
            f"The run in {folder} has another recipe; give the preset and options it began with, or another --name."
        )
    write_whole(path, json.dumps(content, indent=2) + "\n")


def _source(data: Path, folder: Path, preset: str) -> Path:
    """The folder to learn from: phantoms for `smoke`, the given one, or the public data where that is empty."""
    if preset == "smoke":
        return _phantoms(folder.parent / "phantoms")
    if data.is_dir() and any(path for path in data.iterdir() if not path.name.startswith(".")):
        return data
    fetched = folder.parent / "data" / "Data"
    with in_turn(fetched.parent):
        return fetched if fetched.is_dir() else download.download(fetched.parent)


def _phantoms(folder: Path) -> Path:
    with in_turn(folder.parent):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.{os.getpid()}")
            phantoms.write(partial, SMOKE_PATIENTS, slices=SMOKE_SLICES, size_px=SMOKE_PX)
            partial.replace(folder)
    return folder


def _split(folder: Path, patients: Sequence[Patient], recipe: Recipe) -> Split:
    """The run's split, drawn once and checked each time."""
    path = folder / SPLIT
    split = splits.read(path) if path.exists() else splits.split(patients, recipe.seed)
    splits.check(split, patients)
    splits.write(split, path)
    return split


def _keep_split(folder: Path, split: Split) -> None:
    """Write split.json, or refuse to go on with another one than what was trained with."""
    path = folder / SPLIT
    if path.exists() and splits.read(path) != split:
        raise DatasetError(f"The data are split otherwise than when {folder} was begun; begin a run of another --name.")
    splits.write(split, path)


def _check_start(start: Path, split: Split) -> None:
    """Refuse to go on with networks that have learned from patients who are tested or validated on now."""
    seen = set(splits.read(start / SPLIT).train)
    if overlap := seen & {*split.test, *split.validation}:
        raise DatasetError(f"The run in {start} has learned from {len(overlap)} patients that this one is judged by.")

"""Planning: read and split the data, and record what is to be trained, so that the run can be resumed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metseg.atomic_io import atomic_write_bytes
from metseg.contracts import Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import REFERENCE_PX
from metseg_trainer.data import (
    REVIEWED_SITE,
    SPLIT,
    Audit,
    Patient,
    Split,
    check_split,
    check_unseen,
    download_dataset,
    read_split,
    scan_folder,
    scan_reviewed,
    split_by_slice,
    split_patients,
    split_reviewed,
    write_phantoms,
    write_split,
)
from metseg_trainer.runs.locks import in_turn
from metseg_trainer.training import (
    BY_PATIENT,
    BY_SLICE,
    CONFIG,
    PRESETS,
    Plan,
    TrainingConfig,
    preprocessing_of,
    trained_networks,
)

__all__ = ["REVIEWED", "load_plan", "make_plan", "plan_fold"]

SMOKE_PATIENTS, SMOKE_SLICES, SMOKE_PX = 8, 8, 128
AUDIT, REVIEWED_AUDIT = "audit.json", "audit-reviewed.json"
REVIEWED = "reviewed"
"""Folder of a run's reviewed studies, as they were when the run began, and the word for them in its options."""


def make_plan(
    data: Path | None,
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
    """Read and split the data, and record the plan.

    Args:
        data: slices in one of the layouts of `scan_folder`; if it is empty, the public data are downloaded. None: the
            run reads reviewed studies alone.
        folder: of the run; created if absent. What an earlier process of the same run wrote there is kept. Reviewed
            studies in its folder `REVIEWED` are trained and tested on in addition.
        preset: a key of `PRESETS`; `smoke` draws phantoms and reads no data.
        networks: keys of `NETWORKS`.
        epochs: None uses the preset's.
        base_width: None uses the preset's.
        input_px: side of a whole slice in model pixels, of which the head's box is the input; None uses the default.
        start: folder of an earlier run, whose networks are trained further.
        split_by: see `Plan`; a run in folds has an empty split.
        devices: see `Plan`.

    Returns:
        The plan.

    Raises:
        DatasetError: the data cannot be used, the folder has a run of another configuration, or `start` was trained
            on patients who are tested here.
    """
    if start is not None and split_by != BY_PATIENT:
        raise DatasetError("Networks of an earlier run can be continued only with a split by patient.")
    folder.mkdir(parents=True, exist_ok=True)
    preprocessing = Preprocessing() if input_px is None else Preprocessing(pixel_scale=input_px / REFERENCE_PX)
    config = _config(preset, epochs, base_width, preprocessing)
    content = _config_content(preset, config, preprocessing, start, split_by)
    _write_config(folder, content | ({REVIEWED: True} if (folder / REVIEWED).is_dir() else {}))
    patients, audit = _scan(None if data is None else _source(data, folder, preset), folder)
    atomic_write_bytes(folder / AUDIT, audit.to_json().encode())
    split = Split((), (), ())
    if split_by == BY_PATIENT:
        split = _split(folder, patients, config.seed)
    elif split_by == BY_SLICE:
        patients, split = split_by_slice(patients, config.seed)
        _write_split(folder, split)
    if start is not None:
        check_unseen(start, split)
    return Plan(
        folder, preset, config, tuple(networks), patients, audit, split, split_by,
        preprocessing=preprocessing, start=start, devices=devices,
    )  # fmt: skip


def plan_fold(plan: Plan, name: str, split: Split) -> Plan:
    """One fold of a run, in a folder of that name below the run's.

    Args:
        plan: of the run.
        name: of the fold.
        split: of the fold.

    Returns:
        The fold's plan.

    Raises:
        DatasetError: the split would evaluate on training data, or is not that of the started fold.
    """
    check_split(split, plan.patients)
    fold = replace(plan, fold=name, split=split)
    fold.folder.mkdir(exist_ok=True)
    _write_split(fold.folder, split)
    return fold


def load_plan(data: Path, folder: Path) -> Plan:
    """The plan of a trained run, read from its folder.

    Args:
        data: of its training.
        folder: of the run.

    Returns:
        The plan.

    Raises:
        DatasetError: there is no such run, it was not split by patient, or the data are not those of its split.
    """
    try:
        content: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        config = TrainingConfig.from_dict(content)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} holds no run that this release can open.") from error
    networks = trained_networks(folder)
    if not networks or "split_by" in content:
        raise DatasetError(f"The run in {folder} has no network that was trained on a split by patient.")
    patients, audit = _scan(data, folder)
    split = read_split(folder / SPLIT)
    check_split(split, patients)
    return Plan(
        folder, content["preset"], config, tuple(networks), patients, audit, split,
        preprocessing=preprocessing_of(content),
    )  # fmt: skip


def _scan(data: Path | None, folder: Path) -> tuple[list[Patient], Audit]:
    """The patients of a folder and the reviewed ones of a run, and the audit of the first that there is."""
    found = [] if data is None else [scan_folder(data)]
    if (folder / REVIEWED).is_dir():
        found.append(scan_reviewed(folder / REVIEWED))
        atomic_write_bytes(folder / REVIEWED_AUDIT, found[-1][1].to_json().encode())
    return [patient for patients, _ in found for patient in patients], found[0][1]


def _draw_split(patients: Sequence[Patient], seed: int) -> Split:
    """Sides of the patients of a folder, which reviewed studies do not change, and of the reviewed ones."""
    reviewed = [patient for patient in patients if patient.site == REVIEWED_SITE]
    others = [patient for patient in patients if patient.site != REVIEWED_SITE]
    parts = [split_patients(others, seed)] if others else []
    parts += [split_reviewed(reviewed, seed)] if reviewed else []
    return Split.joined(parts)


def _config(preset: str, epochs: int | None, base_width: int | None, preprocessing: Preprocessing) -> TrainingConfig:
    """The preset with the given changes; a patch covers the same share of a head at any input size."""
    config, usual = PRESETS[preset], Preprocessing()
    steps = preprocessing.pixel_scale / usual.pixel_scale / usual.multiple
    rows, columns = (max(1, round(side * steps)) * usual.multiple for side in config.patch_size)
    return replace(
        config, epochs=epochs or config.epochs, base_width=base_width or config.base_width, patch_size=(rows, columns)
    )  # fmt: skip


def _config_content(
    preset: str, config: TrainingConfig, preprocessing: Preprocessing, start: Path | None, split_by: str
) -> dict[str, Any]:
    """The content of config.json: the configuration, and deviations from the default."""
    content = {"preset": preset, **json.loads(json.dumps(config.to_dict()))}
    if preprocessing != Preprocessing():
        content["pixel_scale"] = preprocessing.pixel_scale
    if start is not None:
        content["start"] = start.name
    if split_by != BY_PATIENT:
        content["split_by"] = split_by
    return content


def _write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """Write config.json, or refuse to continue a run with another configuration."""
    path = folder / CONFIG
    if path.exists() and json.loads(path.read_text()) != content:
        raise DatasetError(
            f"The run in {folder} has another configuration; give the preset and options that it was started with, or "
            "another --name."
        )
    atomic_write_bytes(path, json.dumps(content, indent=2).encode() + b"\n")


def _source(data: Path, folder: Path, preset: str) -> Path:
    """The training folder: phantoms for `smoke`, the given one, or the public data if that is empty."""
    if preset == "smoke":
        return _phantoms(folder.parent / "phantoms")
    if data.is_dir() and any(path for path in data.iterdir() if not path.name.startswith(".")):
        return data
    fetched = folder.parent / "data" / "Data"
    with in_turn(fetched.parent):
        return fetched if fetched.is_dir() else download_dataset(fetched.parent)


def _phantoms(folder: Path) -> Path:
    with in_turn(folder.parent):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.{os.getpid()}")
            write_phantoms(partial, SMOKE_PATIENTS, slices=SMOKE_SLICES, size_px=SMOKE_PX)
            partial.replace(folder)
    return folder


def _split(folder: Path, patients: Sequence[Patient], seed: int) -> Split:
    """The run's split, drawn once and checked each time."""
    path = folder / SPLIT
    split = read_split(path) if path.exists() else _draw_split(patients, seed)
    check_split(split, patients)
    write_split(split, path)
    return split


def _write_split(folder: Path, split: Split) -> None:
    """Write split.json, or refuse to continue with another one."""
    path = folder / SPLIT
    if path.exists() and read_split(path) != split:
        raise DatasetError(f"The data are not split as when {folder} was started; start a run with another --name.")
    write_split(split, path)

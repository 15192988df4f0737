"""Record: every run's configuration, split, curves, figures and report in the store, and how runs compare."""

import json
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metseg.errors import DatasetError, Unavailable
from metseg.storage import ObjectStore
from metseg_trainer.evaluation import compare_networks
from metseg_trainer.export.model_card import packages
from metseg_trainer.runs.plan import BY_SLICE, PREPARED

__all__ = ["ENVIRONMENT", "PATIENTS", "Run", "compare", "environment", "keep", "keep_so_far", "runs", "table"]

ROOT = "runs"
PATIENTS = "patients.json"
"""Figures by patient: it names patients, and therefore stays with the run and never goes beside a model."""
ENVIRONMENT = "environment.json"
KEPT_SUFFIXES = {".json", ".html", ".md"}
EVENTS = "events.out.tfevents"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run as its results tell it; `dice` is by network and patient, of whom a split by slice tests some slices."""

    name: str
    results: Mapping[str, Any]
    dice: Mapping[str, Mapping[str, float]]


def environment() -> dict[str, str | int]:
    """What this process trains with and on."""
    return {
        "python": platform.python_version(),
        **packages(),
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def keep(folder: Path, store: ObjectStore) -> None:
    """Put everything of a run but its checkpoints, models and prepared samples into the store, as `runs/<run>/...`.

    Raises:
        StoreUnavailable: the store is away.
    """
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        told = path.suffix in KEPT_SUFFIXES or path.name.startswith(EVENTS)
        if told and PREPARED not in place.parts and path.is_file():
            store.put(f"{ROOT}/{_key(folder.name)}/{_key(place.as_posix())}", path.read_bytes())


def keep_so_far(folder: Path, store: ObjectStore | None) -> None:
    """Keep what a run has come to, so that a lost machine loses little; a store that is away ends no training."""
    if store is None:
        return
    try:
        keep(folder, store)
    except Unavailable as error:
        log.warning("What run %s has come to could not be kept: %s", folder.name, error.detail)


def runs(folder: Path, store: ObjectStore | None) -> list[Run]:
    """All finished runs of a folder and of the store, oldest first."""
    found = {run.name: run for run in (*_stored(store), *_local(folder))}
    return sorted(found.values(), key=lambda run: str(run.results["created_at"]))


def table(listed: Sequence[Run]) -> str:
    """One line a run and network: when, preset, split and mean patient Dice with its interval."""
    lines = [f"{'run':24} {'when':20} {'preset':9} {'split':8} {'network':24} mean Dice (95% interval)"]
    for run in listed:
        for row in run.results["networks"]:
            dice = row["evaluation"]["measures"]["dice"]
            low, high = dice["mean_interval"]["low"], dice["mean_interval"]["high"]
            lines.append(
                f"{run.name:24} {run.results['created_at'][:19]:20} {run.results['preset']:9} "
                f"{run.results['split_by']:8} {row['title']:24} {row['mean']:.3f} ({low:.3f} to {high:.3f})"
            )
    return "\n".join(lines)


def compare(first: Run, second: Run) -> str:
    """Each network of two runs against itself, on the test patients that both have.

    Raises:
        DatasetError: the runs have no network with common test patients.
    """
    lines = []
    for network in sorted(first.dice.keys() & second.dice.keys()):
        common = first.dice[network].keys() & second.dice[network].keys()
        if common:
            scores = tuple({patient: run.dice[network][patient] for patient in common} for run in (first, second))
            words = compare_networks((first.name, second.name), (scores[0], scores[1])).words
            lines.append(f"{network}: {words.replace('network', 'run')}")
    if not lines:
        raise DatasetError(f"The runs {first.name} and {second.name} tested no network on common patients.")
    return "\n".join(lines)


def _local(folder: Path) -> Iterator[Run]:
    for results in folder.glob("*/results.json"):
        patients = results.with_name(PATIENTS)
        if patients.exists():
            yield from _run(_key(results.parent.name), results.read_bytes(), patients.read_bytes())


def _stored(store: ObjectStore | None) -> Iterator[Run]:
    if store is None:
        return
    keys = {info.key for info in store.list(f"{ROOT}/")}
    for key in sorted(keys):
        place, _, file = key.rpartition("/")
        if file == "results.json" and place.count("/") == 1 and f"{place}/{PATIENTS}" in keys:
            yield from _run(place.split("/")[1], store.get(key), store.get(f"{place}/{PATIENTS}"))


def _run(name: str, results: bytes, patients: bytes) -> Iterator[Run]:
    """The run, unless an earlier release wrote its results in another form."""
    content = json.loads(results)
    if "split_by" not in content:
        log.warning("Run %s was written by an earlier release and is left out.", name)
        return
    part = "/test" if content["split_by"] == BY_SLICE else ""
    dice = {
        network: {id.removesuffix(part): row["dice"] for id, row in by.items()}
        for network, by in json.loads(patients).items()
    }
    yield Run(name, content, dice)


def _key(path: str) -> str:
    """A path as a key of the store, which takes small letters, digits and `.`, `_`, `-`."""
    kept = "abcdefghijklmnopqrstuvwxyz0123456789._-/"
    return "".join(sign if sign in kept else "-" for sign in path.lower())

"""Run store: every run's configuration, split, curves, results and report in the store, and comparisons of runs."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metseg.errors import DatasetError, Unavailable
from metseg.storage import ObjectStore
from metseg_trainer.evaluation import compare_networks
from metseg_trainer.reporting import PATIENTS, RESULTS
from metseg_trainer.training import BY_SLICE

__all__ = [
    "PREPARED",
    "FinishedRun",
    "compare_runs",
    "format_runs",
    "list_runs",
    "run_key",
    "upload_progress",
    "upload_run",
]

ROOT = "runs"
PREPARED = "prepared"
"""Folder of the prepared sources, which can be recreated and are not uploaded."""
UPLOADED_SUFFIXES = {".json", ".html", ".md"}
EVENTS = "events.out.tfevents"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """A run by its results; `dice` is by network and patient; a split by slice tests some slices of each."""

    name: str
    results: Mapping[str, Any]
    dice: Mapping[str, Mapping[str, float]]


def upload_run(folder: Path, store: ObjectStore, *, name: str | None = None) -> None:
    """Upload everything of a run but its checkpoints, models and prepared sources as `runs/<run>/...`.

    Args:
        folder: of the run.
        store: of the registry.
        name: of the run; None takes the folder's.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        is_record = path.suffix in UPLOADED_SUFFIXES or path.name.startswith(EVENTS)
        if is_record and PREPARED not in place.parts and path.is_file():
            store.put(run_key(name or folder.name, place.as_posix()), path.read_bytes())


def upload_progress(folder: Path, store: ObjectStore | None) -> None:
    """Upload the record so far, so that a lost machine loses little; an unreachable store does not end the training.

    Args:
        folder: of the run.
        store: of the registry; None uploads nothing.
    """
    if store is None:
        return
    try:
        upload_run(folder, store)
    except Unavailable as error:
        log.warning("The record of run %s could not be uploaded: %s", folder.name, error.detail)


def list_runs(folder: Path, store: ObjectStore | None) -> list[FinishedRun]:
    """All finished runs of a folder and of the store.

    Args:
        folder: of all runs.
        store: of the registry; None lists only the folder's.

    Returns:
        Each run once, oldest first.
    """
    found = {run.name: run for run in (*_stored(store), *_local(folder))}
    return sorted(found.values(), key=lambda run: str(run.results["created_at"]))


def format_runs(runs: Sequence[FinishedRun]) -> str:
    """One line for each run and network: when, preset, split and mean patient Dice with its interval."""
    lines = [f"{'run':24} {'when':20} {'preset':9} {'split':8} {'network':24} mean Dice (95% interval)"]
    for run in runs:
        for row in run.results["networks"]:
            dice = row["evaluation"]["measures"]["dice"]
            low, high = dice["mean_interval"]["low"], dice["mean_interval"]["high"]
            lines.append(
                f"{run.name:24} {run.results['created_at'][:19]:20} {run.results['preset']:9} "
                f"{run.results['split_by']:8} {row['title']:24} {row['mean']:.3f} ({low:.3f} to {high:.3f})"
            )
    return "\n".join(lines)


def compare_runs(first: FinishedRun, second: FinishedRun) -> str:
    """Compare each network of two runs on their common test patients.

    Args:
        first: one run.
        second: the other.

    Returns:
        A line for each network.

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


def run_key(name: str, file: str) -> str:
    """The key in the store of a run's file.

    Args:
        name: of the run.
        file: its path below the run's folder.

    Returns:
        The key.
    """
    return f"{ROOT}/{_key(name)}/{_key(file)}"


def _local(folder: Path) -> Iterator[FinishedRun]:
    for results in folder.glob(f"*/{RESULTS}"):
        patients = results.with_name(PATIENTS)
        if patients.exists():
            yield from _run(_key(results.parent.name), results.read_bytes(), patients.read_bytes())


def _stored(store: ObjectStore | None) -> Iterator[FinishedRun]:
    if store is None:
        return
    keys = {info.key for info in store.list(f"{ROOT}/")}
    for key in sorted(keys):
        place, _, file = key.rpartition("/")
        if file == RESULTS and place.count("/") == 1 and f"{place}/{PATIENTS}" in keys:
            yield from _run(place.split("/")[1], store.get(key), store.get(f"{place}/{PATIENTS}"))


def _run(name: str, results: bytes, patients: bytes) -> Iterator[FinishedRun]:
    """The run, unless an earlier release wrote its results in another format."""
    content = json.loads(results)
    if "split_by" not in content:
        log.warning("Run %s was written by an earlier release and is left out.", name)
        return
    part = "/test" if content["split_by"] == BY_SLICE else ""
    dice = {
        network: {id.removesuffix(part): row["dice"] for id, row in by.items()}
        for network, by in json.loads(patients).items()
    }
    yield FinishedRun(name, content, dice)


def _key(path: str) -> str:
    """A path as a key of the store, which allows lower-case letters, digits and `.`, `_`, `-`."""
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-/"
    return "".join(character if character in allowed else "-" for character in path.lower())

"""Record: every run's configuration, split, curves, figures and report in the store, and how runs compare."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metseg.errors import DatasetError
from metseg.objects import ObjectStore
from metseg_trainer.evaluation import compare_networks

__all__ = ["PATIENTS", "Run", "compare", "keep", "runs", "table"]

ROOT = "runs"
PATIENTS = "patients.json"
"""Figures by patient: it names patients, and therefore stays with the run and never goes beside a model."""
KEPT_SUFFIXES = {".json", ".html", ".md"}
EVENTS = "events.out.tfevents"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run as its results tell it; `dice` is by network and patient."""

    name: str
    results: Mapping[str, Any]
    dice: Mapping[str, Mapping[str, float]]


def keep(folder: Path, store: ObjectStore) -> None:
    """Put everything of a run but its checkpoints and models into the store, as `runs/<run>/...`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix in KEPT_SUFFIXES or path.name.startswith(EVENTS)):
            store.put(f"{ROOT}/{folder.name.lower()}/{_key(path.relative_to(folder))}", path.read_bytes())


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
            yield from _run(results.parent.name.lower(), results.read_bytes(), patients.read_bytes())


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
    dice = {network: {id: row["dice"] for id, row in by.items()} for network, by in json.loads(patients).items()}
    yield Run(name, content, dice)


def _key(path: Path) -> str:
    """A path as a key of the store, which takes small letters, digits and `.`, `_`, `-`."""
    kept = "abcdefghijklmnopqrstuvwxyz0123456789._-/"
    return "".join(sign if sign in kept else "-" for sign in path.as_posix().lower())

"""Core and whole from folders to a model and a table: prepare, train, export, evaluate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metseg.errors import DatasetError
from metseg.imaging import ROLES
from metseg_trainer.data import scan_folder, split_patients
from metseg_trainer.data.structures import prepare_brisc, prepare_lgg, read_brisc_index
from metseg_trainer.evaluation import EvaluationResult, StructureData, compare_networks, format_structures
from metseg_trainer.export import describe_structure_data, export_structures, read_whole
from metseg_trainer.networks import network_title
from metseg_trainer.training import CHECKPOINT, CONFIG, StructureTrainingConfig, load_network, train_structures

__all__ = ["run_structures"]

FIGURES = "figures.json"
"""Dice by set and patient: it names patients, so it stays with the run."""
BRISC_SIDES = ("train", "validation")


def run_structures(
    network: str,
    config: StructureTrainingConfig,
    folder: Path,
    *,
    lgg: Path,
    brisc: Path,
    whole: Path,
    brats: Path | None = None,
    resume: bool = False,
) -> str:
    """Prepare, train, export and evaluate a network of the core.

    The test patients of LGG are used for figures alone.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        folder: for the stores, which networks share, and for a folder of each network with its checkpoint, model,
            card and figures.
        lgg: the glioma patients, in a layout that `run` reads.
        brisc: the folder of BRISC.
        whole: the folder of a version whose model of the whole the exported one contains.
        brats: studies of volumes, as `run` reads them, to evaluate both structures on; None leaves that out.
        resume: continue from the network's checkpoint.

    Returns:
        The table of figures, and how the network compares with others that are in `folder`.

    Raises:
        NotFound: `whole` holds no card.
        DatasetError: a folder cannot be used, or the network has a checkpoint and `resume` is not set, or the reverse.
        TrainingFailed: see `train_structures`.
        ModelRejected: the export does not compute what the network does, or see `read_whole`.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    place = folder / network
    if (place / CHECKPOINT).exists() != resume:
        wrong = "has no checkpoint to resume" if resume else "has a checkpoint already; add --resume to continue it"
        raise DatasetError(f"{place} {wrong}.")
    # What is missing is found before training.
    read_whole(whole)
    index = {side: read_brisc_index(brisc, side) for side in BRISC_SIDES}
    studies = scan_folder(brats)[0] if brats else []
    patients, audit = scan_folder(lgg)
    print(audit.text())
    split = split_patients(patients, config.seed)
    train, validation, test = (
        [patient for patient in patients if patient.id in ids] for ids in (split.train, split.validation, split.test)
    )
    stores = folder / "stores"
    place.mkdir(parents=True, exist_ok=True)
    (place / CONFIG).write_text(json.dumps({"network": network, **_as_json(config.to_dict())}, indent=2) + "\n")
    train_structures(network, config, prepare_lgg(train, stores), prepare_brisc(brisc, stores), place)
    exported = export_structures(
        load_network(place / CHECKPOINT), whole, place, data=StructureData(validation, test, brisc, studies),
        train=train, described=describe_structure_data(patients, split, index),
    )  # fmt: skip
    (place / FIGURES).write_text(json.dumps(_dice(exported.results), indent=1) + "\n")
    lines = [format_structures(exported.results), *_comparisons(folder, network)]
    return "\n".join([*lines, f"{exported.card.version} was written to {place}."])


def _dice(results: Mapping[str, EvaluationResult]) -> dict[str, dict[str, float]]:
    """By set and patient."""
    return {name: result.dice for name, result in results.items()}


def _comparisons(folder: Path, network: str) -> list[str]:
    """The network against every other one in the folder that was evaluated on the same patients, by set."""
    own = json.loads((folder / network / FIGURES).read_text())
    lines = []
    for path in sorted(folder.glob(f"*/{FIGURES}")):
        other = json.loads(path.read_text())
        for name in own.keys() & other.keys() if path.parent.name != network else ():
            if own[name].keys() == other[name].keys():
                titles = network_title(network), network_title(path.parent.name)
                lines.append(f"{name}: {compare_networks(titles, (own[name], other[name])).words}")
    return sorted(lines)


def _as_json(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values for JSON, whose keys are words: the sequences that a sample shows become `flair+post`."""
    return {
        key if isinstance(key, str) else "+".join(role for role, shown in zip(ROLES, key, strict=True) if shown): (
            _as_json(value) if isinstance(value, Mapping) else value
        )
        for key, value in values.items()
    }

"""Core and whole from folders to a table: prepare, train, evaluate. The networks are not exported or served yet."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metseg.errors import DatasetError
from metseg.imaging import ROLES
from metseg_trainer.data import scan_folder, split_patients
from metseg_trainer.data.structures import prepare_brisc, prepare_lgg, read_brisc_index
from metseg_trainer.evaluation import (
    StructureCase,
    brats_cases,
    brisc_cases,
    drawn_cases,
    evaluate_structures,
    format_structures,
    lgg_cases,
)
from metseg_trainer.training import CHECKPOINT, CONFIG, StructureTrainingConfig, load_network, train_structures

__all__ = ["run_structures"]

FIGURES = "figures.json"


def run_structures(
    network: str,
    config: StructureTrainingConfig,
    folder: Path,
    *,
    lgg: Path,
    brisc: Path,
    brats: Path | None = None,
    resume: bool = False,
) -> str:
    """Prepare, train and evaluate a network.

    The test patients of LGG are not used.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        folder: for the stores, which networks share, and for a folder of each network with its checkpoint, figures and
            `config.json`, every number of its training.
        lgg: the glioma patients, in a layout that `run` reads.
        brisc: the folder of BRISC.
        brats: studies of volumes, as `run` reads them, to evaluate both structures on; None: none.
        resume: continue from the network's checkpoint.

    Returns:
        The table of figures by structure.

    Raises:
        DatasetError: a folder cannot be used, or the network has a checkpoint and `resume` is not set, or the reverse.
        TrainingFailed: see `train_structures`.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    place = folder / network
    if (place / CHECKPOINT).exists() != resume:
        wrong = "has no checkpoint to resume" if resume else "has a checkpoint already; add --resume to continue it"
        raise DatasetError(f"{place} {wrong}.")
    for side in ("train", "validation"):
        read_brisc_index(brisc, side)  # so that missing data are found now rather than after the training
    studies = scan_folder(brats)[0] if brats else []
    patients, audit = scan_folder(lgg)
    print(audit.text())
    split = split_patients(patients, config.seed)
    train = [patient for patient in patients if patient.id in split.train]
    validation = [patient for patient in patients if patient.id in split.validation]
    stores = folder / "stores"
    place.mkdir(parents=True, exist_ok=True)
    (place / CONFIG).write_text(json.dumps({"network": network, **_as_json(config.to_dict())}, indent=2) + "\n")
    train_structures(network, config, prepare_lgg(train, stores), prepare_brisc(brisc, stores), place)
    sets: dict[str, Iterable[StructureCase]] = {
        "LGG validation": lgg_cases(validation),
        "BRISC validation, axial": brisc_cases(brisc),
        "drawn metastases": drawn_cases(validation),
        "BraTS": brats_cases(studies),
    }
    figures = evaluate_structures(load_network(place / CHECKPOINT), sets)
    (place / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    return format_structures(figures)


def _as_json(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values for JSON, whose keys are words: the sequences that a sample shows become `flair+post`."""
    return {
        key if isinstance(key, str) else "+".join(role for role, shown in zip(ROLES, key, strict=True) if shown): (
            _as_json(value) if isinstance(value, Mapping) else value
        )
        for key, value in values.items()
    }

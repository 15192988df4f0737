"""Core and whole from folders to a model and a table: prepare, train, evaluate, export."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metseg.contracts import OperatingPoint
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
from metseg_trainer.export import describe_structure_data, export_structures
from metseg_trainer.training import CHECKPOINT, CONFIG, StructureTrainingConfig, load_network, train_structures

__all__ = ["run_structures"]

FIGURES = "figures.json"
BRISC_SIDES = ("train", "validation")
SIDES = (*BRISC_SIDES, "test")


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

    The test patients of LGG are used for the card's figures alone.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        folder: for the stores, which networks share, and for a folder of each network with its checkpoint, figures,
            `config.json`, every number of its training, and the exported model with its card.
        lgg: the glioma patients, in a layout that `run` reads.
        brisc: the folder of BRISC.
        brats: studies of volumes, as `run` reads them, to evaluate both structures on; None: none.
        resume: continue from the network's checkpoint.

    Returns:
        The table of figures by structure.

    Raises:
        DatasetError: a folder cannot be used, or the network has a checkpoint and `resume` is not set, or the reverse.
        TrainingFailed: see `train_structures`.
        ModelRejected: the export does not compute what the network does.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    place = folder / network
    if (place / CHECKPOINT).exists() != resume:
        wrong = "has no checkpoint to resume" if resume else "has a checkpoint already; add --resume to continue it"
        raise DatasetError(f"{place} {wrong}.")
    for side in BRISC_SIDES:
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
    trained = load_network(place / CHECKPOINT)
    figures = evaluate_structures(trained, sets)
    (place / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    sides = {side: [patient for patient in patients if patient.id in getattr(split, side)] for side in SIDES}
    data = describe_structure_data(patients, split, {side: read_brisc_index(brisc, side) for side in BRISC_SIDES})
    card = export_structures(trained, place, _core_point(figures), sides, data)
    return f"{format_structures(figures)}\n{card.version} was written to {place}."


def _core_point(figures: Mapping[str, Any]) -> OperatingPoint:
    """The operating point with the best lesion-wise F1 on drawn metastases; the default where none were drawn."""
    drawn = figures.get("drawn metastases", {}).get("drawn")
    if drawn is None:
        return OperatingPoint()
    return OperatingPoint(threshold=drawn["low"], seed_threshold=drawn["high"], min_volume_mm3=drawn["min_mm3"])


def _as_json(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values for JSON, whose keys are words: the sequences that a sample shows become `flair+post`."""
    return {
        key if isinstance(key, str) else "+".join(role for role, shown in zip(ROLES, key, strict=True) if shown): (
            _as_json(value) if isinstance(value, Mapping) else value
        )
        for key, value in values.items()
    }

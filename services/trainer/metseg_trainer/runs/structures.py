"""Core and whole from folders to a version and a table: prepare, train, export, evaluate, publish."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metseg.contracts import DataCard
from metseg.errors import DatasetError
from metseg.imaging import ROLES
from metseg.registry import FULL_PRECISION_MODEL, MODEL, REPORT, read_card
from metseg.storage import ObjectStore
from metseg_trainer.data import SPLIT, split_sha256, write_split
from metseg_trainer.data.structures import prepare_brisc, prepare_lgg, prepare_studies
from metseg_trainer.evaluation import (
    EvaluationResult,
    StructureData,
    compare_networks,
    format_structures,
    structure_sets,
)
from metseg_trainer.export import (
    KNOWN_CORES,
    MARKDOWN,
    ExportedStructures,
    PromotionPolicy,
    compare_structures,
    decide_promotion,
    export_structures,
    format_variants,
    publish_version,
    read_whole,
)
from metseg_trainer.networks import network_title
from metseg_trainer.reporting import (
    ANONYMOUS_REPORT,
    RESULTS,
    StructureReport,
    pick_structure_examples,
    write_structure_reports,
    write_structure_results,
)
from metseg_trainer.runs.run_store import upload_run
from metseg_trainer.runs.structure_data import (
    StructurePatients,
    StructureSources,
    check_start,
    read_structure_patients,
)
from metseg_trainer.training import (
    CHECKPOINT,
    CONFIG,
    StructureTrainingConfig,
    load_network,
    start_weights,
    train_structures,
)

__all__ = ["run_structures"]

FIGURES = "figures.json"
"""Dice by set and patient: it names patients, so it stays with the run."""


def run_structures(
    network: str,
    config: StructureTrainingConfig,
    folder: Path,
    sources: StructureSources,
    *,
    whole: Path,
    start: Path | None = None,
    resume: bool = False,
    policy: PromotionPolicy = "better",
    store: ObjectStore | None = None,
) -> str:
    """Prepare, train, export and evaluate a network of the core, publish it and promote it if it is better.

    Test patients are used for figures, and to compare with the champion, alone.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        folder: for the stores, which networks share, and for a folder of each network with its checkpoint, model,
            card and figures.
        sources: the data.
        whole: the folder of a version whose model of the whole the exported one contains.
        start: folder of a version of this command whose network of the core is trained further; None: random weights.
        resume: continue from the network's checkpoint.
        policy: whether the version replaces the champion.
        store: of the registry; None leaves the version in the folder.

    Returns:
        The table of figures, the variants, how the network compares with others that are in `folder`, and whether it
        was promoted.

    Raises:
        NotFound: `whole` or `start` holds no card.
        DatasetError: the network has a checkpoint and `resume` is not set, or the reverse; or see
            `read_structure_patients` and `check_start`.
        TrainingFailed: see `train_structures`.
        ModelRejected: the export does not compute what the network does, or see `read_whole`.
        StoreUnavailable: the store cannot be reached.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    place = folder / network
    if (place / CHECKPOINT).exists() != resume:
        wrong = "has no checkpoint to resume" if resume else "has a checkpoint already; add --resume to continue it"
        raise DatasetError(f"{place} {wrong}.")
    read_whole(whole)  # what is missing is found before training
    patients = read_structure_patients(sources, config.seed)
    if start is not None:
        check_start(start, patients)
    inherited = [read_card(version).data for version in (whole, start) if version is not None]
    _train(network, config, place, patients, start)
    data = patients.evaluated()
    exported = export_structures(
        load_network(place / CHECKPOINT), whole, place, data=data,
        train=[*patients.trained_gliomas, *patients.trained_studies], described=patients.described(inherited),
    )  # fmt: skip
    (place / FIGURES).write_text(json.dumps(_dice(exported.results), indent=1) + "\n")
    decision = decide_promotion(
        exported.card, policy, store, compare_structures(exported.results, data),
        unseen={exported.card.data.split_sha256, *_unseen_by(patients, inherited)},
    )  # fmt: skip
    comparisons = _comparisons(folder, network)
    report = _report(network, place, exported, data, comparisons=comparisons, verdict=decision.reason)
    write_structure_reports(place, report)
    write_structure_results(place / RESULTS, report)
    if store is not None:
        upload_run(place, store, name=exported.card.version)
        publish_version(store, exported.card, _version_files(place), promote=decision.promote)
    lines = [format_structures(exported.results), format_variants(exported.variants), *comparisons]
    return "\n".join([*lines, f"{exported.card.version} was written to {place}. {decision.reason}"])


def _train(
    network: str, config: StructureTrainingConfig, place: Path, patients: StructurePatients, start: Path | None
) -> None:
    """Prepare the training side and train, with a record of split and configuration."""
    stores = place.parent / "stores"
    place.mkdir(parents=True, exist_ok=True)
    write_split(patients.split, place / SPLIT)
    (place / CONFIG).write_text(json.dumps({"network": network, **_as_json(config.to_dict())}, indent=2) + "\n")
    train_structures(
        network, config, prepare_lgg(patients.trained_gliomas, stores), prepare_brisc(patients.brisc, stores), place,
        studies=prepare_studies(patients.trained_studies, stores),
        start=None if start is None else start / CHECKPOINT,
    )  # fmt: skip


def _unseen_by(patients: StructurePatients, inherited: Sequence[DataCard]) -> set[str]:
    """Hashes of the splits of other trainings that have seen no patient of this one's test side."""
    if patients.gliomas:
        return {split_sha256(patients.glioma_split)}  # of one without other studies
    return {data.split_sha256 for data in inherited if KNOWN_CORES not in data.name}


def _version_files(place: Path) -> dict[str, bytes]:
    """The files of a version in the registry but its card; none names a patient."""
    paths = [path for name in (MODEL, FULL_PRECISION_MODEL, MARKDOWN) if (path := place / name).exists()]
    report = {REPORT: (place / ANONYMOUS_REPORT).read_bytes()}
    return {path.name: path.read_bytes() for path in paths} | {CHECKPOINT: start_weights(place / CHECKPOINT)} | report


def _report(
    network: str,
    place: Path,
    exported: ExportedStructures,
    data: StructureData,
    *,
    comparisons: Sequence[str],
    verdict: str,
) -> StructureReport:
    """What the report shows: the network next to the others in the folder, and pictures of its own outlines."""
    dice = {network: _dice(exported.results)} | _siblings(place)
    sets = structure_sets(data)
    examples = {
        name: pick_structure_examples(network, exported.predictor, sets[name].studies(), scores)
        for name, scores in dice[network].items()
    }
    cards = {network: exported.card} | {name: read_card(place.parent / name) for name in dice if name != network}
    configurations = {name: json.loads((place.parent / name / CONFIG).read_text()) for name in dice}
    return StructureReport(
        network, cards, dice, comparisons, verdict, configurations, examples, exported.variants
    )  # fmt: skip


def _siblings(place: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Dice by set and study of the other networks in the folder that were evaluated on the same studies."""
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(place.parent.glob(f"*/{FIGURES}"))}
    own = _studies_by_set(found.pop(place.name))
    return {name: dice for name, dice in found.items() if _studies_by_set(dice) == own}


def _studies_by_set(dice: Mapping[str, Mapping[str, float]]) -> dict[str, set[str]]:
    return {name: set(studies) for name, studies in dice.items()}


def _dice(results: Mapping[str, EvaluationResult]) -> dict[str, dict[str, float]]:
    """By set and patient."""
    return {name: result.dice for name, result in results.items()}


def _comparisons(folder: Path, network: str) -> list[str]:
    """The network against every other one in the folder that was evaluated on the same studies, by set."""
    own = json.loads((folder / network / FIGURES).read_text())
    return [
        f"{name}: {compare_networks((network_title(network), network_title(sibling)), (dice, other[name])).words}"
        for sibling, other in _siblings(folder / network).items()
        for name, dice in own.items()
    ]


def _as_json(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values for JSON, whose keys are words: the sequences that a sample shows become `flair+post`."""
    return {
        key if isinstance(key, str) else "+".join(role for role, shown in zip(ROLES, key, strict=True) if shown): (
            _as_json(value) if isinstance(value, Mapping) else value
        )
        for key, value in values.items()
    }

"""Core and whole from folders to a version and a table: prepare, train, export, evaluate, publish."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metseg.errors import DatasetError
from metseg.imaging import ROLES
from metseg.registry import FULL_PRECISION_MODEL, MODEL, REPORT, read_card
from metseg.storage import ObjectStore
from metseg_trainer.data import (
    SPLIT,
    Patient,
    Split,
    check_unseen,
    scan_folder,
    scan_reviewed,
    split_patients,
    split_reviewed,
    split_sha256,
    write_split,
)
from metseg_trainer.data.structures import prepare_brisc, prepare_lgg, prepare_studies, read_brisc_index
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
    describe_structure_data,
    export_structures,
    publish_version,
    read_whole,
)
from metseg_trainer.networks import network_title
from metseg_trainer.reporting import (
    ANONYMOUS_REPORT,
    StructureReport,
    pick_structure_examples,
    write_structure_reports,
)
from metseg_trainer.runs.run_store import upload_run
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
BRISC_SIDES = ("train", "validation")


def run_structures(
    network: str,
    config: StructureTrainingConfig,
    folder: Path,
    *,
    whole: Path,
    lgg: Path | None = None,
    brisc: Path | None = None,
    studies: Path | None = None,
    reviewed: Path | None = None,
    brats: Path | None = None,
    start: Path | None = None,
    resume: bool = False,
    policy: PromotionPolicy = "better",
    store: ObjectStore | None = None,
) -> str:
    """Prepare, train, export and evaluate a network of the core, publish it and promote it if it is better.

    Of `lgg`, `brisc`, `studies` and `reviewed` any may be left out, but not all of those with patients to validate and
    test on: BRISC alone is refused. Test patients are used for figures, and to compare with the champion, alone.

    Args:
        network: a key of `NETWORKS`.
        config: how it is trained.
        folder: for the stores, which networks share, and for a folder of each network with its checkpoint, model,
            card and figures.
        whole: the folder of a version whose model of the whole the exported one contains.
        lgg: the glioma patients, in a layout that `run` reads.
        brisc: the folder of BRISC.
        studies: studies of volumes whose core is known, to train, validate and test on.
        reviewed: the same, as `fetch_reviewed` wrote them.
        brats: studies of volumes, as `run` reads them, to evaluate both structures on.
        start: folder of a version of this command whose network of the core is trained further; None: random weights.
        resume: continue from the network's checkpoint.
        policy: whether the version replaces the champion.
        store: of the registry; None leaves the version in the folder.

    Returns:
        The table of figures, how the network compares with others that are in `folder`, and whether it was promoted.

    Raises:
        NotFound: `whole` or `start` holds no card.
        DatasetError: no patients are named, a folder cannot be used, or the network has a checkpoint and `resume` is
            not set, or the reverse.
        TrainingFailed: see `train_structures`.
        DatasetError: `start` was trained on patients that this training is evaluated on.
        ModelRejected: the export does not compute what the network does, or see `read_whole`.
        StoreUnavailable: the store cannot be reached.
        KeyboardInterrupt: the training was asked to stop, and has left a checkpoint.
    """
    place = folder / network
    if (place / CHECKPOINT).exists() != resume:
        wrong = "has no checkpoint to resume" if resume else "has a checkpoint already; add --resume to continue it"
        raise DatasetError(f"{place} {wrong}.")
    if not (lgg or studies or reviewed):
        raise DatasetError("Name patients to train, validate and test on: --studies, --lgg or both.")
    # What is missing is found before training.
    read_whole(whole)
    index = {side: read_brisc_index(brisc, side) for side in BRISC_SIDES} if brisc else {}
    volumes = scan_folder(brats)[0] if brats else []
    gliomas, split = _gliomas(lgg, config.seed)
    known, known_split = _known_cores(studies, reviewed, config.seed)
    if start is not None:
        _check_start(start, split, known_split)
    train, validation, test = _sides(gliomas, split)
    known_train, known_validation, known_test = _sides(known, known_split)
    inherited = [read_card(version).data for version in (whole, start) if version is not None]
    stores = folder / "stores"
    place.mkdir(parents=True, exist_ok=True)
    write_split(Split.joined([split, known_split]), place / SPLIT)
    (place / CONFIG).write_text(json.dumps({"network": network, **_as_json(config.to_dict())}, indent=2) + "\n")
    train_structures(
        network, config, prepare_lgg(train, stores), prepare_brisc(brisc, stores), place,
        studies=prepare_studies(known_train, stores), start=None if start is None else start / CHECKPOINT,
    )  # fmt: skip
    data = StructureData(validation, test, brisc, volumes, known_validation, known_test)
    exported = export_structures(
        load_network(place / CHECKPOINT), whole, place, data=data, train=[*train, *known_train],
        described=describe_structure_data(gliomas, known, Split.joined([split, known_split]), index, inherited),
    )  # fmt: skip
    (place / FIGURES).write_text(json.dumps(_dice(exported.results), indent=1) + "\n")
    unseen = {exported.card.data.split_sha256, split_sha256(split)}  # the latter: of one without other studies
    if not gliomas:
        unseen |= {data.split_sha256 for data in inherited if KNOWN_CORES not in data.name}
    compare = compare_structures(exported.results, data)
    decision = decide_promotion(exported.card, policy, store, compare, unseen=unseen)
    comparisons = _comparisons(folder, network)
    report = _report(network, place, exported, data, comparisons=comparisons, verdict=decision.reason)
    write_structure_reports(place, report)
    if store is not None:
        upload_run(place, store, name=exported.card.version)
        publish_version(store, exported.card, _version_files(place), promote=decision.promote)
    lines = [format_structures(exported.results), *comparisons]
    return "\n".join([*lines, f"{exported.card.version} was written to {place}. {decision.reason}"])


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
    configuration = json.loads((place / CONFIG).read_text())
    return StructureReport(network, cards, dice, comparisons, verdict, configuration, examples)


def _siblings(place: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Dice by set and study of the other networks in the folder that were evaluated on the same studies."""
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(place.parent.glob(f"*/{FIGURES}"))}
    own = _studies_by_set(found.pop(place.name))
    return {name: dice for name, dice in found.items() if _studies_by_set(dice) == own}


def _studies_by_set(dice: Mapping[str, Mapping[str, float]]) -> dict[str, set[str]]:
    return {name: set(studies) for name, studies in dice.items()}


def _gliomas(folder: Path | None, seed: int) -> tuple[list[Patient], Split]:
    """The glioma patients and their sides."""
    if folder is None:
        return [], Split((), (), ())
    patients, audit = scan_folder(folder)
    print(audit.text())
    return patients, split_patients(patients, seed)


def _known_cores(folder: Path | None, reviewed: Path | None, seed: int) -> tuple[list[Patient], Split]:
    """The studies whose core is known, and their sides."""
    patients, parts = list[Patient](), [Split((), (), ())]
    for place, scan, split in ((folder, scan_folder, split_patients), (reviewed, scan_reviewed, split_reviewed)):
        if place is not None:
            found, audit = scan(place, "core")
            print(audit.text())
            patients += found
            parts.append(split(found, seed))
    return patients, Split.joined(parts)


def _check_start(start: Path, gliomas: Split, known: Split) -> None:
    """Refuse a start that was trained on patients of the test or validation side.

    A version that was published, such as the starter model, names no patients; its card has the hash of its split, and
    says whether it learned from studies of a site.
    """
    if not (start / CHECKPOINT).is_file():
        raise DatasetError(f"{start} holds no {CHECKPOINT}, the weights to start from.")
    if (start / SPLIT).exists():
        check_unseen(start, Split.joined([gliomas, known]))
        return
    data = read_card(start).data
    if gliomas.test and data.split_sha256 != split_sha256(gliomas):
        raise DatasetError(f"The version in {start} was trained with other glioma patients; name those as --lgg.")
    if not gliomas.test and KNOWN_CORES in data.name:
        raise DatasetError(
            f"The version in {start} was trained on studies of patients whom it does not name, so this training could "
            f"test it on them; start from the folder of its training, which has {SPLIT}."
        )


def _sides(patients: Sequence[Patient], split: Split) -> Iterator[list[Patient]]:
    """Those to train on, to validate on and to test on."""
    for ids in (split.train, split.validation, split.test):
        yield [patient for patient in patients if patient.id in ids]


def _dice(results: Mapping[str, EvaluationResult]) -> dict[str, dict[str, float]]:
    """By set and patient."""
    return {name: result.dice for name, result in results.items()}


def _comparisons(folder: Path, network: str) -> list[str]:
    """The network against every other one in the folder that was evaluated on the same patients, by set."""
    own = json.loads((folder / network / FIGURES).read_text())
    lines = []
    for sibling, other in _siblings(folder / network).items():
        for name in own.keys() & other.keys():
            if own[name].keys() == other[name].keys():
                titles = network_title(network), network_title(sibling)
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

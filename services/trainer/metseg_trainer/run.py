"""Run: from a folder of slices to a model in service, one function a step; each step's result lies in the run's folder.

folder -> audit -> patients -> split -> prepared studies -> both networks -> figures -> winner -> ONNX -> registry
"""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from metseg import report as pictures
from metseg.contracts import ModelCard, Preprocessing
from metseg.errors import DatasetError
from metseg.objects import ObjectStore
from metseg.predictor import OnnxPredictor
from metseg.preprocess import to_input
from metseg.registry import Registry
from metseg.segment import probabilities
from metseg.volume import Volume
from metseg_trainer import card as cards
from metseg_trainer import dataset, download, phantoms, promote, report, sources
from metseg_trainer import split as splits
from metseg_trainer.audit import Audit
from metseg_trainer.dataset import Patient
from metseg_trainer.evaluate import EvaluationResult, Mask, TorchPredictor, evaluate
from metseg_trainer.export import to_onnx, verify
from metseg_trainer.fit import CURVES, LAST, fit, load
from metseg_trainer.promote import Policy
from metseg_trainer.recipe import PRESETS, Recipe
from metseg_trainer.samples import prepare
from metseg_trainer.split import Split

TITLES = {"nested-unet": "Nested U-Net (U-Net++)", "attention-unet": "Attention U-Net"}
KEPT = ("config.json", "audit.json", "split.json", "results.json", "report.html")
ANONYMOUS_REPORT = "report-anonymous.html"
VERIFIED_SLICES = 8
SMOKE_PATIENTS, SMOKE_SLICES, SMOKE_PX = 8, 8, 128


@dataclass(frozen=True)
class Outcome:
    """What a run brought: where it lies, which version it published (None without a store) and what was decided."""

    folder: Path
    version: str | None
    verdict: str


@dataclass(frozen=True)
class _Run:
    """What every step of a run has to know."""

    folder: Path
    preset: str
    patients: list[Patient]
    audit: Audit
    split: Split
    preprocessing: Preprocessing

    def side(self, ids: Sequence[str]) -> list[Patient]:
        """The patients of one side of the split."""
        return [patient for patient in self.patients if patient.id in ids]

    def test(self) -> Iterator[tuple[str, Volume, Mask]]:
        """The test patients: identifier, study, true mask."""
        for patient in self.side(self.split.test):
            yield patient.id, *dataset.load(patient)


def run(
    data: Path,
    folder: Path,
    *,
    preset: str,
    epochs: int | None = None,
    start: Path | None = None,
    networks: Sequence[str],
    policy: Policy,
    store: ObjectStore | None,
) -> Outcome | None:
    """Train the networks, compare them on the same test patients and put the better one into service.

    A folder with the files of an earlier run is continued where it stopped.

    Args:
        data: slices in one of the layouts of `dataset.scan`; where it is empty, the public data are downloaded.
        folder: of this run; made if absent.
        preset: a key of `PRESETS`; `smoke` draws phantoms and looks at no data.
        epochs: other than the preset's.
        start: the folder of an earlier run of the same split, whose networks are trained further.
        networks: keys of `NETWORKS`, one or more.
        policy: whether the winner takes the champion's place.
        store: of the registry; None leaves the winner in the folder.

    Returns:
        None in a process that only helped to train.

    Raises:
        MetsegError: the data cannot be used, the export is not exact, or the store is away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = PRESETS[preset] if epochs is None else replace(PRESETS[preset], epochs=epochs)
    _keep_configuration(folder, preset, recipe, start)
    patients, audit = dataset.scan(_source(data, folder, preset))
    (folder / "audit.json").write_text(audit.to_json())
    print(audit.text())
    this = _Run(folder, preset, patients, audit, _split(folder, patients, recipe), Preprocessing())
    if start is not None:
        _check_start(start, this.split)
    if not _train(this, recipe, networks, start):
        return None
    predictors = {name: TorchPredictor(load(folder / name / LAST), this.preprocessing) for name in networks}
    results = {name: evaluate(name, predictor, this.test()) for name, predictor in predictors.items()}
    return _conclude(this, predictors, results, policy, store)


def _check_start(start: Path, split: Split) -> None:
    """Refuse to go on with networks that have learned from patients who are tested or validated on now."""
    seen = set(splits.read(start / "split.json").train)
    if overlap := seen.intersection(split.test, split.validation):
        raise DatasetError(f"The run in {start} has learned from {len(overlap)} patients that this one is judged by.")


def _keep_configuration(folder: Path, preset: str, recipe: Recipe, start: Path | None) -> None:
    """Write config.json, or refuse to continue a run with another recipe."""
    path, content = folder / "config.json", json.loads(json.dumps({"preset": preset, **asdict(recipe)}))
    if start is not None:
        content["start"] = start.name
    if path.exists() and json.loads(path.read_text()) != content:
        raise DatasetError(f"The run in {folder} has another recipe; give the preset it began with, or another --name.")
    path.write_text(json.dumps(content, indent=2) + "\n")


def _source(data: Path, folder: Path, preset: str) -> Path:
    """The folder to learn from: phantoms for `smoke`, the given one, or the public data where that is empty."""
    if preset == "smoke":
        drawn = folder.parent / "phantoms"
        if not drawn.is_dir():
            phantoms.write(drawn, SMOKE_PATIENTS, slices=SMOKE_SLICES, size_px=SMOKE_PX)
        return drawn
    if data.is_dir() and any(path for path in data.iterdir() if not path.name.startswith(".")):
        return data
    fetched = folder.parent / "data" / "Data"
    return fetched if fetched.is_dir() else download.download(fetched.parent)


def _split(folder: Path, patients: Sequence[Patient], recipe: Recipe) -> Split:
    """The run's split, drawn once and checked each time."""
    path = folder / "split.json"
    if not path.exists():
        splits.write(splits.split(patients, recipe.seed), path)
    split = splits.read(path)
    splits.check(split, patients)
    return split


def _train(this: _Run, recipe: Recipe, networks: Sequence[str], start: Path | None) -> bool:
    """Fit every network; False in a process that has nothing left to do."""
    learned = sources.build(this.side(this.split.train), this.preprocessing, recipe, this.folder.parent / "prepared")
    judged = [
        prepare(patient.id, *dataset.load(patient), this.preprocessing) for patient in this.side(this.split.validation)
    ]
    trainers = [
        fit(name, recipe, learned, judged, this.folder / name, start=start and start / name / LAST) for name in networks
    ]
    return all(trainer.is_global_zero for trainer in trainers)


def _conclude(
    this: _Run,
    predictors: Mapping[str, TorchPredictor],
    results: Mapping[str, EvaluationResult],
    policy: Policy,
    store: ObjectStore | None,
) -> Outcome:
    """Export the winner, offer it to the registry and write the record."""
    winner = max(results, key=lambda name: results[name].summary.mean)
    card, model = _export(this, predictors, results, winner)
    decision = promote.decide(card, results[winner], policy, store, this.test)
    verdict = f"{_comparison(results, winner)} {decision.reason}"
    _report(this, predictors, results, card, verdict)
    (this.folder / "model.onnx").write_bytes(model)
    (this.folder / "card.json").write_text(card.model_dump_json(indent=2) + "\n")
    print(report.markdown(this.folder / "results.json"))
    print(verdict)
    if store is None:
        return Outcome(this.folder, None, verdict)
    _publish(this.folder, store, card, model, promoted=decision.promote)
    return Outcome(this.folder, card.version, verdict)


def _export(
    this: _Run, predictors: Mapping[str, TorchPredictor], results: Mapping[str, EvaluationResult], winner: str
) -> tuple[ModelCard, bytes]:
    """The winner as ONNX with its card, checked against the network on real slices."""
    created_at = datetime.now(UTC)
    network = load(this.folder / winner / LAST)
    model = to_onnx(network)
    card = cards.write_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{winner}",
        created_at=created_at,
        title=TITLES[winner],
        network=network,
        model=model,
        preprocessing=this.preprocessing,
        threshold=predictors[winner].threshold,
        data=cards.describe_data(this.patients, this.audit, this.split),
        figures={TITLES[name]: result.summary for name, result in results.items()},
    )
    verify(OnnxPredictor(card, model, torch.get_num_threads()), predictors[winner], _some_inputs(this))
    return card, model


def _report(
    this: _Run,
    predictors: Mapping[str, TorchPredictor],
    results: Mapping[str, EvaluationResult],
    card: ModelCard,
    verdict: str,
) -> None:
    """Write results.json, report.html and the report that may leave the house."""
    [winner] = [name for name in results if TITLES[name] == card.network]
    record = _record(this, card, predictors)
    report.write_results(this.folder / "results.json", run=record, results=results, winner=winner, verdict=verdict)
    content: dict[str, Any] = {
        "run": record,
        "audit": this.audit,
        "split": this.split,
        "curves": {name: json.loads((this.folder / name / CURVES).read_text()) for name in results},
        "results": results,
        "winner": winner,
        "verdict": verdict,
        "examples": _examples(this, predictors, results[winner]),
    }
    report.write(this.folder / "report.html", **content)
    report.write(this.folder / ANONYMOUS_REPORT, **content, anonymous=True)


def _publish(folder: Path, store: ObjectStore, card: ModelCard, model: bytes, *, promoted: bool) -> None:
    """The record of the run, and the version with the report that shows no patient, into the store."""
    for name in KEPT:
        store.put(f"runs/{folder.name.lower()}/{name}", (folder / name).read_bytes())
    registry = Registry(store)
    registry.publish(card, {"model.onnx": model, "report.html": (folder / ANONYMOUS_REPORT).read_bytes()})
    if promoted:
        registry.promote(card.version)


def _some_inputs(this: _Run) -> list[npt.NDArray[np.float32]]:
    """Model inputs of a few slices of the test patients, one from the middle of each."""
    inputs = []
    for _, volume, _ in islice(this.test(), VERIFIED_SLICES):
        prepared = to_input(volume, this.preprocessing)
        middle = len(prepared.pixels) // 2
        inputs.append(prepared.tensor(slice(middle, middle + 1)))
    return inputs


def _comparison(results: Mapping[str, EvaluationResult], winner: str) -> str:
    """Who won, in a sentence."""
    scores = ", ".join(f"{TITLES[name]} {result.summary.mean:.3f}" for name, result in results.items())
    on = f"on the same {results[winner].summary.patients} test patients ({scores})"
    if sum(result.summary.mean == results[winner].summary.mean for result in results.values()) > 1:
        return f"Both networks have the same mean patient Dice {on}; {TITLES[winner]} was taken as the first of them."
    return f"{TITLES[winner]} has the higher mean patient Dice {on}."


def _examples(this: _Run, predictors: Mapping[str, TorchPredictor], winner: EvaluationResult) -> list[report.Example]:
    """The largest true slice of the winner's best, median and worst patients."""
    order = sorted(winner.dice, key=lambda patient: -winner.dice[patient])
    labels: dict[str, Literal["best", "median", "worst"]] = {
        order[-1]: "worst",
        order[len(order) // 2]: "median",
        order[0]: "best",
    }
    examples = []
    for id, volume, truth in this.test():
        if id not in labels:
            continue
        index = int(truth.sum(axis=(1, 2)).argmax())
        masks = {
            name: probabilities(volume, predictor)[index] >= predictor.threshold
            for name, predictor in predictors.items()
        }
        examples.append(report.Example(id, labels[id], pictures.display(volume)[index], truth[index], masks))
    return sorted(examples, key=lambda example: -winner.dice[example.patient])


def _record(this: _Run, card: ModelCard, predictors: Mapping[str, TorchPredictor]) -> report.RunRecord:
    """How the run went, for its report."""
    networks: dict[str, report.NetworkRecord] = {}
    for name, predictor in predictors.items():
        rows = json.loads((this.folder / name / CURVES).read_text())
        networks[name] = {
            "title": TITLES[name],
            "parameters": cards.parameters(predictor.network),
            "minutes": sum(row["seconds"] for row in rows) / 60,
            "epochs": len(rows),
            "best_epoch": max(rows, key=lambda row: float(row["val_dice"]))["epoch"],
        }
    return {
        "created_at": card.created_at.isoformat(timespec="seconds"),
        "preset": this.preset,
        "git_revision": card.git_revision,
        "networks": networks,
        "configuration": json.loads((this.folder / "config.json").read_text()),
        "environment": {
            "python": platform.python_version(),
            **card.packages,
            "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "data_name": card.data.name,
        "data_licence": card.data.licence,
        "data_citations": card.data.citations,
        "data_sha256": card.data.sha256,
        "version": card.version,
    }

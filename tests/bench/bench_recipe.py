"""The contribution of each part of the recipe: one network, trained again without it.

    python -m tests.bench.bench_recipe --data FOLDER --epochs 4

The test side of the data takes no part: only its training side is split again, so that no recipe is tuned to the
patients on whom the networks are finally evaluated. A stopped bench resumes with the same command. Everything that
names patients stays in `--folder`; `--table` gets the figures that may be published.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from tests.bench import tables
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from metseg.contracts import Evaluation
from metseg_trainer.data import Source, split_patients
from metseg_trainer.evaluation import (
    CORRUPTIONS,
    TorchPredictor,
    compare_networks,
    evaluate_model,
    implanted_patients,
    load_patients,
    load_predictor,
)
from metseg_trainer.networks import NETWORKS, network_title
from metseg_trainer.runs import PREPARED, make_plan, train
from metseg_trainer.training import Plan, TrainingConfig, git_revision, packages

FIGURES = "figures.json"
FLAIR_ALONE = "flair-only"
BASE, FLIPPED = "recipe", "flips"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """A change of the recipe, or of the schedule that all recipes share."""

    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    without: Source | None = None
    schedule: Callable[..., LRScheduler] = OneCycleLR

    def of(self, recipe: TrainingConfig) -> TrainingConfig:
        """The recipe with the change; the share of a dropped source goes to the others."""
        shares = {
            source: 0.0 if source == self.without else share for source, share in recipe.sampling.source_shares.items()
        }
        sampling = replace(recipe.sampling, source_shares=shares, **self.sampling)
        return replace(recipe, sampling=sampling, **self.changes)


def _constant(optimizer: Optimizer, highest: float, steps: int, pct_start: float) -> LRScheduler:
    """The same warm-up, then the mean of the one-cycle schedule: half of the maximum."""
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (pct_start * steps)) / 2)


TRIALS = {
    BASE: Trial("the recipe"),
    "no-implanted": Trial("without drawn metastases", without="implanted"),
    "no-lone": Trial("without single slices", without="lone"),
    "no-stripped": Trial("without stripped heads", without="stripped"),
    "no-transplant": Trial("without transplanted lesions", sampling={"transplant_p": 0.0}),
    "no-balance": Trial("slices with a lesion as rare as they are", sampling={"lesion_share": 0.34}),
    "no-schedule": Trial("a constant learning rate after the warm-up", schedule=_constant),
    "whole-slices": Trial("fed in 128x128 instead of 112x96", {"patch_size": (128, 128)}),
    "no-averaging": Trial("without averaged weights", {"ema_decay": 0.0}),
    "batch-16": Trial("batches of 16, half the steps", {"batch_size": 16}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and evaluate the trials that have no results yet, and write the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    plan = _inner(
        make_plan(
            options.data, options.folder, preset=options.preset, networks=[options.network], epochs=options.epochs
        )
    )
    for name in options.trials:
        trial = replace(plan, fold=name, config=TRIALS[name].of(plan.config))
        if not (trial.folder / FIGURES).exists():
            _train(trial)
            _judge(trial)
    report = table(plan, options.trials)
    tables.write(report, markdown, "recipe", plan.run_folder, options.table)


def _parser() -> argparse.ArgumentParser:
    parser = tables.parser("bench_recipe", __doc__)
    parser.add_argument("--network", choices=NETWORKS, default="attention-unet", help="default: %(default)s")
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS), help="default: all")
    return parser


def _inner(plan: Plan) -> Plan:
    """The plan without the patients on whom networks are finally evaluated."""
    known = {*plan.split.train, *plan.split.validation}
    patients = [patient for patient in plan.patients if patient.id in known]
    return replace(plan, patients=patients, split=split_patients(patients, plan.config.seed))


def _train(trial: Plan) -> None:
    """All trials draw from the same prepared patients."""
    shared = trial.run_folder / PREPARED
    shared.mkdir(exist_ok=True)
    trial.folder.mkdir(exist_ok=True)
    if not (trial.folder / PREPARED).exists():
        (trial.folder / PREPARED).symlink_to(shared.resolve())
    with patch.object(torch.optim.lr_scheduler, "OneCycleLR", TRIALS[trial.fold].schedule):
        train(trial, store=None)


def _judge(trial: Plan) -> None:
    """The figures of a trial; for the unchanged recipe also with flips at test time."""
    [network] = trial.networks
    predictor = load_predictor(trial, network)
    _write_figures(trial, predictor, trial.folder)
    if trial.fold == BASE:
        flipped = Flipped(predictor.network, predictor.preprocessing, predictor.operating_points)
        _write_figures(trial, flipped, trial.run_folder / FLIPPED)


class Flipped(TorchPredictor):
    """The mean of a slice's probabilities and of its mirror image's, mirrored back."""

    def __call__(self, tensor: Floats) -> Floats:
        """See `TorchPredictor`."""
        mirrored = super().__call__(tensor[:, :, ::-1])[..., ::-1]
        return np.asarray((super().__call__(tensor) + mirrored) / 2, np.float32)


def _write_figures(trial: Plan, predictor: TorchPredictor, folder: Path) -> None:
    [network] = trial.networks
    result = evaluate_model(
        network, predictor, load_patients(trial.test_patients), {FLAIR_ALONE: CORRUPTIONS[FLAIR_ALONE]}
    )
    drawn = evaluate_model(network, predictor, implanted_patients(trial.test_patients, trial.config.seed), {})
    figures = {
        "dice": result.dice,
        "lone_slices": result.summary.mean_single_slices,
        "test": result.card().model_dump(),
        "implanted": tables.found(drawn.card().lesions) if drawn.patients else None,
        **predictor.operating_points["whole"].model_dump(),
    }
    folder.mkdir(exist_ok=True)
    (folder / FIGURES).write_text(json.dumps(figures, indent=1))


def table(plan: Plan, trials: Sequence[str]) -> dict[str, Any]:
    """All trials and the unchanged recipe; no patient is named."""
    titles = {name: TRIALS[name].title for name in trials}
    if BASE in titles:
        titles[FLIPPED] = "the recipe, and mirrored slices averaged when predicting"
    figures = {name: json.loads((plan.run_folder / name / FIGURES).read_text()) for name in titles}
    rows = []
    for name, title in titles.items():
        scores = figures[name]
        test = Evaluation.model_validate(scores["test"])
        row = {
            "trial": name,
            "title": title,
            "dice": test.measures["dice"].model_dump(),
            "lowest_dice": min(scores["dice"].values()),
            "lone_slices": scores["lone_slices"],
            "flair_alone": test.robustness[CORRUPTIONS[FLAIR_ALONE].title].mean,
            "implanted": scores["implanted"],
        }
        if name != BASE and BASE in figures:
            pair = compare_networks((titles[BASE], title), (figures[BASE]["dice"], scores["dice"]))
            row["recipe_less_this"] = {"difference": pair.difference, "interval": pair.interval.model_dump()}
        rows.append(row)
    [network] = plan.networks
    return {
        "preset": plan.preset,
        "network": network_title(network),
        "recipe": asdict(plan.config),
        "patients": {side: len(getattr(plan.split, side)) for side in ("train", "validation", "test")},
        "git_revision": git_revision(),
        "packages": packages(),
        "trials": rows,
    }


def markdown(report: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = (
        "trial", "mean Dice", "recipe less this (95%)", "median", "lowest", "single slices", "FLAIR alone",
        "drawn metastases from 6 mm", "false positives",
    )  # fmt: skip
    cells = []
    for row in report["trials"]:
        drawn, pair = row["implanted"], row.get("recipe_less_this")
        cells.append(
            (
                row["title"],
                f"{row['dice']['mean']:.3f}",
                "" if pair is None else _signed(pair),
                f"{row['dice']['median']:.3f}",
                f"{row['lowest_dice']:.3f}",
                f"{row['lone_slices']:.3f}",
                f"{row['flair_alone']:.3f}",
                "" if drawn is None else f"{drawn['sensitivity']:.2f}",
                "" if drawn is None else f"{drawn['false_positives']:.1f}",
            )
        )
    patients, recipe = report["patients"], report["recipe"]
    note = (
        f"{report['network']}, {recipe['epochs']} epochs of {recipe['samples_per_epoch']} samples from random weights, "
        f"{patients['train']} patients for training, {patients['validation']} for operating points, evaluated on "
        f"{patients['test']} others of the training side. One run each."
    )
    return "\n".join([*tables.rows(head, cells), "", note]) + "\n"


def _signed(pair: dict[str, Any]) -> str:
    interval = pair["interval"]
    return f"{pair['difference']:+.3f} ({interval['low']:+.3f} to {interval['high']:+.3f})"


if __name__ == "__main__":
    main()

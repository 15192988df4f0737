"""Cross-validation: every patient tested once, or every site left out once, and the figures over all folds."""

import shutil
from collections.abc import Mapping
from dataclasses import replace

from metseg.storage import ObjectStore
from metseg_trainer.data import Split, k_fold_splits, leave_site_out_split
from metseg_trainer.evaluation import RunEvaluation, evaluate_networks, merge_evaluations
from metseg_trainer.reporting import PATIENTS, write_patient_results
from metseg_trainer.runs.planning import plan_fold
from metseg_trainer.runs.run import RunOutcome, finish_without_model, train
from metseg_trainer.runs.run_store import PREPARED, upload_progress
from metseg_trainer.training import Plan

__all__ = ["cross_validate", "leave_sites_out"]

ALL_SITES = "all"


def cross_validate(plan: Plan, count: int, store: ObjectStore | None, *, train_only: bool = False) -> RunOutcome | None:
    """Train and evaluate the networks once for each fold; a stopped run continues with the fold where it stopped.

    Args:
        plan: of the run; each fold has a folder below the run's.
        count: of the folds.
        store: for the record; None uploads nothing.
        train_only: leave the figures to another process.

    Returns:
        None if only trained.

    Raises:
        DatasetError: there are too few patients.
    """
    splits = k_fold_splits(plan.patients, count, plan.config.seed)
    folds = {f"fold-{number}": split for number, split in enumerate(splits, start=1)}
    return _run_folds(plan, folds, f"Cross-validation in {count} folds by patient", store, train_only)


def leave_sites_out(plan: Plan, site: str, store: ObjectStore | None, *, train_only: bool = False) -> RunOutcome | None:
    """Train on all sites but one and test on that one.

    Args:
        plan: of the run; each site has a folder below the run's.
        site: the one tested on; `all` tests on each in turn.
        store: for the record; None uploads nothing.
        train_only: leave the figures to another process.

    Returns:
        None if only trained.

    Raises:
        DatasetError: there is no such site, or too few patients are of others.
    """
    sites = sorted({patient.site for patient in plan.patients}) if site == ALL_SITES else [site]
    folds = {f"without-{one.lower()}": leave_site_out_split(plan.patients, one, plan.config.seed) for one in sites}
    return _run_folds(plan, folds, f"Trained without the site that is tested ({', '.join(sites)})", store, train_only)


def _run_folds(
    plan: Plan, splits: Mapping[str, Split], words: str, store: ObjectStore | None, train_only: bool
) -> RunOutcome | None:
    folds = [plan_fold(plan, name, split) for name, split in splits.items()]
    evaluations = []
    for fold in folds:
        print(f"== {fold.fold}: {len(fold.split.train)} to train on, {len(fold.split.test)} to test on")
        train(fold, store)
        if not train_only:
            evaluations.append(_evaluate(fold, store))
    if train_only:
        return None
    shutil.rmtree(plan.folder / PREPARED, ignore_errors=True)
    tested = tuple(sorted(id for fold in folds for id in fold.split.test))
    reason = f"{words}; no model was exported. Each fold chose its own operating point, of which the last is shown."
    return finish_without_model(
        replace(plan, split=Split((), (), tested)), merge_evaluations(evaluations), reason, store, pictured=False
    )


def _evaluate(fold: Plan, store: ObjectStore | None) -> RunEvaluation:
    """The figures of one fold, uploaded at once."""
    evaluation = evaluate_networks(fold, corrupted=False)
    write_patient_results(fold.folder / PATIENTS, evaluation)
    upload_progress(fold.run_folder, store)
    return evaluation

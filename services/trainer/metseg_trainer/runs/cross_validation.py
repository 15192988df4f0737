"""Cross: every patient tested once, or every site left out once, and the figures of all parts together."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from metseg.storage import ObjectStore
from metseg_trainer.data import split as splits
from metseg_trainer.data.split import Split
from metseg_trainer.evaluation import EvaluationResult
from metseg_trainer.evaluation.evaluate_run import Judgement, compared, judge
from metseg_trainer.export.publish import Outcome, conclude_without_model
from metseg_trainer.reporting import report
from metseg_trainer.runs import run_store
from metseg_trainer.runs.plan import PREPARED, Plan
from metseg_trainer.runs.run import train

__all__ = ["cross_validate", "leave_sites_out"]

ALL = "all"


def cross_validate(plan: Plan, count: int, store: ObjectStore | None, *, train_only: bool = False) -> Outcome | None:
    """Train and judge the networks once for each fold; a stopped run goes on with the fold that it was at.

    Args:
        plan: of the run; each fold has a folder below the run's.
        count: of the folds.
        store: for the record; None keeps it in the folder alone.
        train_only: leave the figures to another process.

    Returns:
        None if only trained.

    Raises:
        DatasetError: there are too few patients.
    """
    parts = {f"fold-{n}": one for n, one in enumerate(splits.folds(plan.patients, count, plan.recipe.seed), start=1)}
    return _through(plan, parts, f"Cross-validation in {count} folds by patient", store, train_only)


def leave_sites_out(plan: Plan, site: str, store: ObjectStore | None, *, train_only: bool = False) -> Outcome | None:
    """Train on all sites but one and test on that one; `all` does so with each in turn. See `cross_validate`.

    Raises:
        DatasetError: there is no such site, or it leaves too few patients.
    """
    sites = sorted({patient.site for patient in plan.patients}) if site == ALL else [site]
    parts = {
        f"without-{left_out.lower()}": splits.without_site(plan.patients, left_out, plan.recipe.seed)
        for left_out in sites
    }
    return _through(plan, parts, f"Trained without the site that is tested ({', '.join(sites)})", store, train_only)


def _through(
    plan: Plan, splits_by_name: Mapping[str, Split], words: str, store: ObjectStore | None, train_only: bool
) -> Outcome | None:
    parts = [plan.parted(name, split) for name, split in splits_by_name.items()]
    judgements = []
    for part in parts:
        print(f"== {part.part}: {len(part.split.train)} to learn from, {len(part.split.test)} to test on")
        train(part, store)
        if not train_only:
            judgements.append(_judged(part, store))
    if train_only:
        return None
    shutil.rmtree(plan.folder / PREPARED, ignore_errors=True)
    together = replace(plan, split=Split((), (), tuple(sorted(id for part in parts for id in part.split.test))))
    reason = f"{words}; no model was exported. Each part chose its own operating point, of which the last is shown."
    return conclude_without_model(together, _together(judgements), reason, store, pictured=False)


def _judged(part: Plan, store: ObjectStore | None) -> Judgement:
    """The figures of one part, kept at once."""
    judgement = judge(part, shifted=False)
    report.write_patients(part.folder / run_store.PATIENTS, judgement)
    run_store.keep_so_far(part.run_folder, store)
    return judgement


def _together(judgements: Sequence[Judgement]) -> Judgement:
    """The figures of all parts as one, with the predictors of the last."""
    results = {name: _merged([one.results[name] for one in judgements]) for name in judgements[0].results}
    drawn = {
        name: _merged([one.implanted[name] for one in judgements if name in one.implanted])
        for name in results
        if any(name in one.implanted for one in judgements)
    }
    return Judgement(judgements[-1].predictors, results, drawn, compared(results))


def _merged(results: Sequence[EvaluationResult]) -> EvaluationResult:
    whole = EvaluationResult(results[0].network)
    for result in results:
        whole.patients.update(result.patients)
        whole.reliability.merge(result.reliability)
    return whole

"""Cross: every patient tested once, or every site left out once, and the figures of all parts together."""

from collections.abc import Mapping, Sequence

from metseg.errors import DatasetError
from metseg.objects import ObjectStore
from metseg_trainer import split as splits
from metseg_trainer.conclude import Outcome, conclude_without_model
from metseg_trainer.evaluation import EvaluationResult
from metseg_trainer.judge import Judgement, compared, judge
from metseg_trainer.plan import Plan
from metseg_trainer.run import train
from metseg_trainer.split import Split

__all__ = ["cross_validate", "leave_sites_out"]

ALL = "all"


def cross_validate(plan: Plan, count: int, store: ObjectStore | None) -> Outcome | None:
    """Train and judge the networks once for each fold; a stopped run goes on with the fold that it was at.

    Returns:
        None in a process that only helped to train.
    """
    parts = {f"fold-{n}": one for n, one in enumerate(splits.folds(plan.patients, count, plan.recipe.seed), start=1)}
    return _through(plan, parts, f"Cross-validation in {count} folds by patient; no model was exported.", store)


def leave_sites_out(plan: Plan, site: str, store: ObjectStore | None) -> Outcome | None:
    """Train on all sites but one and test on that one; `all` does so with each that leaves enough to learn from.

    Raises:
        DatasetError: there is no such site, or it leaves too few patients.
    """
    sites = sorted({patient.site for patient in plan.patients}) if site == ALL else [site]
    if len(sites) < 2 and site == ALL:
        raise DatasetError("All patients are of one site, so none can be left out.")
    parts = {
        f"without-{left_out.lower()}": splits.without_site(plan.patients, left_out, plan.recipe.seed)
        for left_out in sites
    }
    words = f"Trained without the site that is tested ({', '.join(sites)}); no model was exported."
    return _through(plan, parts, words, store)


def _through(plan: Plan, parts: Mapping[str, Split], words: str, store: ObjectStore | None) -> Outcome | None:
    judgements = []
    for name, split in parts.items():
        print(f"== {name}: {len(split.train)} to learn from, {len(split.test)} to test on")
        splits.check(_everyone(split, plan), plan.patients)
        part = plan.part(name, split)
        if not train(part):
            return None
        judgements.append(judge(part, shifted=False))
    return conclude_without_model(plan, _together(judgements), words, store)


def _everyone(split: Split, plan: Plan) -> Split:
    """The split, as `check` wants it: with every patient of the data set on a side."""
    named = {*split.train, *split.validation, *split.test}
    return Split(
        (*split.train, *(one.id for one in plan.patients if one.id not in named)), split.validation, split.test
    )


def _together(judgements: Sequence[Judgement]) -> Judgement:
    """The figures of all parts as one; predictors are the last part's, which the report's pictures are made with."""
    results = {name: _merged([one.results[name] for one in judgements]) for name in judgements[0].results}
    drawn = {
        name: _merged([one.implanted[name] for one in judgements if name in one.implanted])
        for name in judgements[0].implanted
    }
    return Judgement(judgements[-1].predictors, results, drawn, compared(results))


def _merged(results: Sequence[EvaluationResult]) -> EvaluationResult:
    whole = EvaluationResult(results[0].network)
    for result in results:
        whole.patients.update(result.patients)
        whole.reliability.merge(result.reliability)
    return whole

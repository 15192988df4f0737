"""Run: from a folder of slices to a model in service, one function a step; each step's result lies in the run's folder.

folder -> audit -> patients -> split -> prepared sources -> both networks -> operating points -> figures -> winner ->
ONNX -> registry
"""

from metseg.objects import ObjectStore
from metseg_trainer import conclude, dataset, judge, sources
from metseg_trainer.conclude import Outcome
from metseg_trainer.fit import finished, fit
from metseg_trainer.plan import Plan
from metseg_trainer.promote import Policy
from metseg_trainer.samples import prepare

__all__ = ["run", "train"]

PREPARED = "prepared"
LEAK = (
    "Slices of the same patients were learned from and tested on, to measure how much that flatters; no model was "
    "exported, and these figures say nothing of new patients."
)


def run(plan: Plan, policy: Policy, store: ObjectStore | None) -> Outcome | None:
    """Train the networks, compare them on the same test patients and put the better one into service.

    A folder with the files of an earlier run is continued where it stopped.

    Args:
        plan: what is to be done.
        policy: whether the winner takes the champion's place.
        store: of the registry; None leaves the winner in the folder.

    Returns:
        None in a process that only helped to train.

    Raises:
        MetsegError: the data cannot be used, the export is not exact, or the store is away.
    """
    print(plan.audit.text())
    if not train(plan):
        return None
    if plan.split_by == "slice":
        return conclude.conclude_without_model(plan, judge.judge(plan, shifted=False), LEAK, store)
    return conclude.conclude(plan, judge.judge(plan), policy, store)


def train(plan: Plan) -> bool:
    """Fit every network of a plan; False in a process that has nothing left to do."""
    waiting = [name for name in plan.networks if not finished(plan.folder / name, plan.recipe)]
    if not waiting:
        return True
    learned = sources.build(plan.side(plan.split.train), plan.preprocessing, plan.recipe, plan.folder / PREPARED)
    judged = [
        prepare(patient.id, *dataset.load(patient), plan.preprocessing) for patient in plan.side(plan.split.validation)
    ]
    for name in waiting:
        fit(name, plan.recipe, learned, judged, plan.folder / name, start=plan.start_of(name))
    return True

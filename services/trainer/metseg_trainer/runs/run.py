"""Run: from a folder of slices to a model in service, one function a step; each step's result lies in the run's folder.

folder -> audit -> patients -> split -> prepared sources -> both networks -> operating points -> figures -> winner ->
ONNX -> registry
"""

import json

from metseg.storage import ObjectStore
from metseg_trainer.data import dataset, prepared
from metseg_trainer.data.samples import Study, prepare
from metseg_trainer.evaluation import evaluate_run
from metseg_trainer.export import publish
from metseg_trainer.export.promotion import Policy
from metseg_trainer.export.publish import Outcome
from metseg_trainer.runs import run_store
from metseg_trainer.runs.locks import alone
from metseg_trainer.runs.plan import BY_SLICE, PREPARED, Plan, write_whole
from metseg_trainer.training.config import Source
from metseg_trainer.training.fit import finished, fit

__all__ = ["run", "train"]

LEAK = (
    "Slices of the same patients were learned from and tested on, to measure how much that flatters; no model was "
    "exported, and these figures say nothing of new patients."
)


def run(plan: Plan, policy: Policy, store: ObjectStore | None, *, train_only: bool = False) -> Outcome | None:
    """Train the networks, compare them on the same test patients and put the better one into service.

    A folder with the files of an earlier run is continued where it stopped.

    Args:
        plan: what is to be done.
        policy: whether the winner takes the champion's place.
        store: of the registry; None leaves the winner in the folder.
        train_only: leave all that follows the training to another process.

    Returns:
        None if only trained.

    Raises:
        MetsegError: the data cannot be used, the training had to stop, the export is not exact, or the store is away.
    """
    train(plan, store)
    if train_only:
        return None
    if plan.split_by == BY_SLICE:
        return publish.conclude_without_model(plan, evaluate_run.judge(plan, shifted=False), LEAK, store)
    return publish.conclude(plan, evaluate_run.judge(plan), policy, store)


def train(plan: Plan, store: ObjectStore | None) -> None:
    """Fit every network of a plan that is not fitted yet; after each, the store has the run's record so far.

    Raises:
        MetsegError: the training had to stop, or another process trains the same network in this folder.
    """
    waiting = [name for name in plan.networks if not finished(plan.folder / name, plan.recipe)]
    if not waiting:
        return
    write_whole(plan.run_folder / run_store.ENVIRONMENT, json.dumps(run_store.environment(), indent=2) + "\n")
    learned = _learned(plan)
    judged = [
        prepare(patient.id, *dataset.load(patient), plan.preprocessing) for patient in plan.side(plan.split.validation)
    ]
    for name in waiting:
        place = plan.folder / name
        with alone(place):
            fit(name, plan.recipe, learned, judged, place, start=plan.start_of(name), devices=plan.devices)
        run_store.keep_so_far(plan.run_folder, store)


def _learned(plan: Plan) -> dict[Source, list[Study]]:
    """What the training side is seen in; the parts of a run share what was prepared of all its patients."""
    patients = plan.patients if plan.part else plan.side(plan.split.train)
    built = prepared.build(patients, plan.preprocessing, plan.recipe, plan.run_folder / PREPARED)
    learned = set(plan.split.train)
    return {source: [study for study in studies if study.patient in learned] for source, studies in built.items()}

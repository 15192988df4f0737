"""Run: from a folder of slices to a deployed model; each step is a function with its result in the run's folder.

folder -> audit -> patients -> split -> prepared sources -> networks -> operating points -> evaluation -> winner ->
ONNX -> registry
"""

import json
from dataclasses import dataclass
from pathlib import Path

from metseg.atomic_io import atomic_write_bytes
from metseg.registry import MODEL, REPORT
from metseg.storage import ObjectStore
from metseg_trainer.data import REVIEWED_SITE, PreparedStudy, Source, load_patient, prepare_sources, prepare_study
from metseg_trainer.evaluation import RunEvaluation, evaluate_networks, load_patients
from metseg_trainer.export import (
    MARKDOWN,
    PromotionPolicy,
    compare_patients,
    decide_promotion,
    export_winner,
    publish_version,
)
from metseg_trainer.reporting import ANONYMOUS_REPORT, ENVIRONMENT, write_run_reports
from metseg_trainer.runs.locks import exclusive, in_turn
from metseg_trainer.runs.run_store import PREPARED, upload_progress, upload_run
from metseg_trainer.training import (
    BY_SLICE,
    Plan,
    environment,
    is_finished,
    resource_errors_translated,
    train_network,
)

__all__ = ["RunOutcome", "execute_plan", "finish_without_model", "train"]

LEAK = (
    "Slices of the same patients were used in training and in testing, to measure how much that improves the figures; "
    "no model was exported, and these figures say nothing of new patients."
)


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run.

    Attributes:
        folder: of the run.
        version: the published one; None without a store or a model.
        verdict: the decision with its reason, in sentences.
    """

    folder: Path
    version: str | None
    verdict: str


def execute_plan(
    plan: Plan, policy: PromotionPolicy, store: ObjectStore | None, *, train_only: bool = False
) -> RunOutcome | None:
    """Train the networks, compare them on the same test patients and promote the better one.

    A folder with the files of an earlier run is continued where it stopped.

    Args:
        plan: of the run.
        policy: whether the winner replaces the champion.
        store: of the registry; None leaves the winner in the folder.
        train_only: leave everything after the training to another process.

    Returns:
        None if only trained.

    Raises:
        MetsegError: the data cannot be used, the training had to stop, the export is not exact, or the store cannot be
            reached.
    """
    train(plan, store)
    if train_only:
        return None
    if plan.split_by == BY_SLICE:
        return finish_without_model(plan, evaluate_networks(plan, corrupted=False), LEAK, store)
    return _finish(plan, evaluate_networks(plan), policy, store)


def train(plan: Plan, store: ObjectStore | None) -> None:
    """Train every network of a plan that is not finished; after each, the record so far is uploaded.

    Args:
        plan: of the run.
        store: for the record; None uploads nothing.

    Raises:
        MetsegError: the training had to stop, or another process trains the same network in this folder.
    """
    unfinished = [name for name in plan.networks if not is_finished(plan.folder / name, plan.config)]
    if not unfinished:
        return
    atomic_write_bytes(plan.run_folder / ENVIRONMENT, json.dumps(environment(), indent=2).encode() + b"\n")
    sources = _sources(plan)
    validation = [
        prepare_study(patient.id, *load_patient(patient), plan.preprocessing) for patient in plan.validation_patients
    ]
    for name in unfinished:
        folder = plan.folder / name
        with exclusive(folder):
            train_network(
                name, plan.config, sources, validation, folder,
                start=plan.start_checkpoint(name), devices=plan.devices,
            )  # fmt: skip
        upload_progress(plan.run_folder, store)


def finish_without_model(
    plan: Plan, evaluation: RunEvaluation, reason: str, store: ObjectStore | None, *, pictured: bool = True
) -> RunOutcome:
    """Write the report and the record of a run that measures and exports no model.

    Args:
        plan: of the run.
        evaluation: of its networks.
        reason: why it exports no model, in sentences.
        store: for the record; None uploads nothing.
        pictured: whether the evaluation's predictors have seen none of the test patients, so that pictures are valid.

    Returns:
        The outcome.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    verdict = f"{evaluation.summary} {reason}"
    write_run_reports(plan, evaluation, verdict, None, pictured=pictured)
    if store is not None:
        upload_run(plan.run_folder, store)
    print(verdict)
    return RunOutcome(plan.folder, None, verdict)


def _finish(plan: Plan, evaluation: RunEvaluation, policy: PromotionPolicy, store: ObjectStore | None) -> RunOutcome:
    """Export the winner, write the report and the record, publish the version."""
    exported = export_winner(plan, evaluation)
    card, result = exported.card, evaluation.results[evaluation.winner]
    reviewed = [patient.id for patient in plan.test_patients if patient.site == REVIEWED_SITE]
    compare = compare_patients(result, load_patients(plan.test_patients), reviewed)
    decision = decide_promotion(card, policy, store, compare, unseen={card.data.split_sha256})
    verdict = f"{evaluation.summary} {decision.reason}"
    write_run_reports(plan, evaluation, verdict, card)
    if store is not None:
        upload_run(plan.run_folder, store)
        files = {REPORT: ANONYMOUS_REPORT, MARKDOWN: MARKDOWN}  # the report without patients
        content = {name: (plan.folder / file).read_bytes() for name, file in files.items()}
        publish_version(store, card, {MODEL: exported.model, **content}, promote=decision.promote)
    print(verdict)
    return RunOutcome(plan.folder, card.version if store is not None else None, verdict)


def _sources(plan: Plan) -> dict[Source, list[PreparedStudy]]:
    """The sources of samples; the folds of a run share the prepared data of all its patients."""
    patients = plan.patients if plan.fold else plan.train_patients
    folder = plan.run_folder / PREPARED
    with resource_errors_translated(folder), in_turn(folder):
        sources = prepare_sources(patients, plan.preprocessing, plan.config.sampling, plan.config.seed, folder)
    learned = set(plan.split.train)
    return {source: [study for study in studies if study.patient in learned] for source, studies in sources.items()}

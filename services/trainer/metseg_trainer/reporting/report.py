"""The report of a run: one self-contained HTML file."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from metseg.contracts import DISCLAIMER, ModelCard
from metseg_trainer.data import Audit, Split, site_of
from metseg_trainer.evaluation import EMPTY_CONVENTION, EvaluationResult, RunEvaluation
from metseg_trainer.reporting import charts
from metseg_trainer.reporting.examples import Example, example_panels, pick_examples
from metseg_trainer.reporting.results import PATIENTS, RESULTS, write_patient_results, write_results
from metseg_trainer.reporting.run_record import RunRecord, network_rows, record_run
from metseg_trainer.reporting.templates import render
from metseg_trainer.training import BY_PATIENT, Plan, read_learning_curves

__all__ = ["ANONYMOUS_REPORT", "REPORT", "write_report", "write_run_reports"]

REPORT, ANONYMOUS_REPORT = "report.html", "report-anonymous.html"

Curves = Mapping[str, Sequence[Mapping[str, float | None]]]


def write_run_reports(
    plan: Plan, evaluation: RunEvaluation, verdict: str, card: ModelCard | None, *, pictured: bool = True
) -> None:
    """Write results.json, patients.json, report.html and a report without names and pictures into the run's folder.

    Args:
        plan: of the run.
        evaluation: of its networks.
        verdict: the decision with its reason, in sentences.
        card: of the model that was exported, if one was.
        pictured: whether to show predictions, which need predictors that have seen no test patient.
    """
    run = record_run(plan, evaluation, card)
    write_results(plan.folder / RESULTS, run=run, evaluation=evaluation, verdict=verdict)
    write_patient_results(plan.folder / PATIENTS, evaluation)
    content: dict[str, Any] = {
        "run": run,
        "audit": plan.audit,
        "split": plan.split,
        "curves": {name: read_learning_curves(plan.folder / name) for name in evaluation.results},
        "evaluation": evaluation,
        "verdict": verdict,
        "examples": pick_examples(plan, evaluation) if pictured else [],
    }
    write_report(plan.folder / REPORT, **content)
    write_report(plan.folder / ANONYMOUS_REPORT, **content, anonymous=True)


def write_report(
    path: Path,
    *,
    run: RunRecord,
    audit: Audit,
    split: Split,
    curves: Curves,
    evaluation: RunEvaluation,
    verdict: str,
    examples: Sequence[Example] = (),
    anonymous: bool = False,
) -> None:
    """Write report.html.

    Args:
        path: of the file.
        run: how the networks were trained.
        audit: of the data.
        split: training and test patients.
        curves: by network a point for each epoch: `epoch`, `train_loss`, `val_loss`, `val_dice`, `lr`; a value that
            was not measured is absent or None.
        evaluation: of the networks, on the same test patients.
        verdict: the decision with its reason, in sentences.
        examples: pictures of the test patients.
        anonymous: leave out pictures and all names of patients and files, for a report that is published.

    Raises:
        ValueError: the networks were not tested on the same patients, or the record lacks one.
    """
    results, winner = evaluation.results, evaluation.winner
    styles = {name: charts.style_of(index) for index, name in enumerate(results)}
    rows = network_rows(run, evaluation)
    titles = {row["network"]: row["title"] for row in rows}
    order = _order(results, winner)
    labels = {patient: f"test patient {index + 1}" if anonymous else patient for index, patient in enumerate(order)}
    dice = {name: result.dice for name, result in results.items()}
    scores = {styles[name]: {labels[patient]: score for patient, score in by.items()} for name, by in dice.items()}
    page = render(
        "report.html.j2",
        run=run,
        split_by=run["configuration"].get("split_by", BY_PATIENT),
        audit=audit,
        split=asdict(split),
        sites=_sites(split),
        rows=rows,
        styles=styles,
        winner=winner,
        verdict=verdict,
        by_patient=charts.dice_by_patient(scores, [labels[patient] for patient in order]),
        learning_curves=_learning_curves(curves, styles),
        comparison=evaluation.comparison,
        titles=titles,
        tested={name: result.card() for name, result in results.items()},
        drawn={name: result.card() for name, result in evaluation.implanted.items()},
        reliability=charts.reliability_diagram(
            {
                styles[name]: [(predicted, true) for predicted, true, _ in result.reliability.points]
                for name, result in results.items()
            }
        ),
        convention=EMPTY_CONVENTION,
        examples=[] if anonymous else [example_panels(example, titles, dice, styles) for example in examples],
        anonymous=anonymous,
        disclaimer=DISCLAIMER,
    )
    path.write_text(page, encoding="utf-8")


def _order(results: Mapping[str, EvaluationResult], winner: str) -> list[str]:
    """Test patients, the winner's best first."""
    patients = set(results[winner].dice)
    if any(set(result.dice) != patients for result in results.values()):
        raise ValueError("the networks were tested on different patients, so they cannot be compared")
    return sorted(patients, key=lambda patient: (-results[winner].dice[patient], patient))


def _sites(split: Split) -> list[tuple[str, dict[str, int]]]:
    """Patients of each site by side."""
    counts = {side: Counter(map(site_of, ids)) for side, ids in asdict(split).items()}
    names = sorted(set().union(*counts.values()))
    return [(name, {side: count[name] for side, count in counts.items()}) for name in names]


def _learning_curves(curves: Curves, styles: Mapping[str, str]) -> list[Markup]:
    """Three charts; none if no epoch has ended."""

    def points(key: str) -> dict[str, list[tuple[float, float]]]:
        """Without missing and non-finite values."""
        values = {
            styles[name]: [
                (float(row["epoch"] or 0), value)
                for row in rows
                if (value := row.get(key)) is not None and math.isfinite(value)
            ]
            for name, rows in curves.items()
        }
        return {style: some for style, some in values.items() if some}

    if not any(curves.values()):
        return []
    return [
        charts.learning_curve("Loss: validation solid, training dashed", points("val_loss"), points("train_loss")),
        charts.learning_curve("Validation Dice, mean of patients", points("val_dice"), highest=1.0),
        charts.learning_curve("Learning rate", points("lr")),
    ]

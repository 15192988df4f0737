"""The report of a run: one HTML file that needs nothing else, and the results as JSON and Markdown."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import jinja2
import numpy as np
import numpy.typing as npt

from metseg.contracts import DISCLAIMER
from metseg.imaging import CHANNELS
from metseg_trainer.data.audit import Audit
from metseg_trainer.data.layouts import site
from metseg_trainer.data.split import Split
from metseg_trainer.evaluation import EMPTY_CONVENTION, EvaluationResult
from metseg_trainer.evaluation.evaluate_run import Judgement
from metseg_trainer.reporting import charts
from metseg_trainer.runs.plan import BY_PATIENT, BY_SLICE

__all__ = [
    "Example",
    "NetworkRecord",
    "RunRecord",
    "markdown",
    "templates",
    "write",
    "write_patients",
    "write_results",
]

Mask = npt.NDArray[np.bool_]
SHOWN_CHANNEL = 1


class NetworkRecord(TypedDict):
    """What a run remembers of training one network."""

    title: str
    parameters: int
    minutes: float
    epochs: int
    threshold: float
    smallest_lesion_px: float


class RunRecord(TypedDict):
    """What a run remembers of itself; `environment` and `configuration` are shown as they are."""

    created_at: str
    preset: str
    git_revision: str
    networks: Mapping[str, NetworkRecord]
    configuration: Mapping[str, Any]
    environment: Mapping[str, Any]
    data_name: str
    data_licence: str
    data_citations: Sequence[str]
    data_sha256: str
    version: NotRequired[str]


@dataclass(frozen=True, eq=False)
class Example:
    """One slice of a test patient to look at.

    Attributes:
        patient: id.
        label: how the patient came out with the winning network.
        picture: uint8 for display, (row, column, channel).
        truth: (row, column).
        predictions: by network, (row, column).
    """

    patient: str
    label: Literal["best", "median", "worst"]
    picture: npt.NDArray[np.uint8]
    truth: Mask
    predictions: Mapping[str, Mask]


def write(
    path: Path,
    *,
    run: RunRecord,
    audit: Audit,
    split: Split,
    curves: Mapping[str, Sequence[Mapping[str, float | None]]],
    judgement: Judgement,
    verdict: str,
    examples: Sequence[Example] = (),
    anonymous: bool = False,
) -> None:
    """Write report.html.

    Args:
        path: of the file.
        run: how the networks were trained.
        audit: of the data.
        split: who was trained on and who was tested.
        curves: by network a point an epoch: `epoch`, `train_loss`, `val_loss`, `val_dice`, `lr`; what an epoch did not
            measure is absent or None.
        judgement: of the networks, on the same test patients.
        verdict: what was decided and why, in sentences.
        examples: pictures of the test patients.
        anonymous: leave out pictures and every name of a patient or file, for a report that leaves the house.

    Raises:
        ValueError: the networks were not tested on the same patients, or a run's record lacks one.
    """
    results, winner = judgement.results, judgement.winner
    styles = {name: f"n{index}" for index, name in enumerate(results)}
    rows = _rows(run, results, winner)
    order = _order(results, winner)
    labels = {patient: f"test patient {index + 1}" if anonymous else patient for index, patient in enumerate(order)}
    scores = {name: {labels[patient]: score for patient, score in by.dice.items()} for name, by in results.items()}
    page = templates().get_template("report.html.j2").render(
        run=run,
        split_by=run["configuration"].get("split_by", BY_PATIENT),
        audit=audit,
        split=asdict(split),
        sites=_sites(split),
        rows=rows,
        styles=styles,
        winner=winner,
        verdict=verdict,
        dots=charts.dots(scores, styles, [labels[patient] for patient in order]),
        charts=_curves(curves, styles),
        comparison=judgement.comparison,
        titles={row["network"]: row["title"] for row in rows},
        tested={name: result.card() for name, result in results.items()},
        drawn={name: result.card() for name, result in judgement.implanted.items()},
        reliability=charts.reliability({name: result.reliability.points for name, result in results.items()}, styles),
        convention=EMPTY_CONVENTION,
        examples=[] if anonymous else [_panels(example, run, results, styles) for example in examples],
        channel=CHANNELS[SHOWN_CHANNEL],
        anonymous=anonymous,
        disclaimer=DISCLAIMER,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def write_results(path: Path, *, run: RunRecord, judgement: Judgement, verdict: str) -> None:
    """Write results.json, from which `markdown` and other tools make tables; it names no patient."""
    rows = _rows(run, judgement.results, judgement.winner)
    for row in rows:
        row["evaluation"] = judgement.results[row["network"]].card().model_dump()
        if drawn := judgement.implanted.get(row["network"]):
            row["implanted"] = drawn.card().model_dump()
    content = {
        "created_at": run["created_at"],
        "preset": run["preset"],
        "split_by": run["configuration"].get("split_by", BY_PATIENT),
        "data": run["data_name"],
        "git_revision": run["git_revision"],
        "winner": judgement.winner,
        "verdict": verdict,
        "comparison": None if judgement.comparison is None else judgement.comparison.model_dump(),
        "networks": rows,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_patients(path: Path, judgement: Judgement) -> None:
    """Write the figures by network and patient, with the patients' names."""
    content = {
        name: {
            id: {
                **asdict(one.mask),
                "lesions": [asdict(lesion) for lesion in one.lesions.lesions],
                "false_positives_mm": one.lesions.false_positives_mm,
                "groups": one.groups,
                "shifted": {key: by[id] for key, by in result.shifted.items()},
            }
            for id, one in result.patients.items()
        }
        for name, result in judgement.results.items()
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown(path: Path) -> str:
    """The tables of a results.json, as the README shows them; the network that serves is bold."""
    content = json.loads(path.read_text(encoding="utf-8"))
    networks = content["networks"]
    tables = [_table("Patient Dice", networks, _dice_rows(networks))]
    if all("implanted" in row for row in networks):
        tables.append(_table("Drawn metastases", networks, _lesion_rows(networks, "implanted")))
    if content["split_by"] not in (BY_PATIENT, BY_SLICE):
        tables.append(_table("Mean patient Dice by site", networks, _site_rows(networks)))
    note = (
        f"{content['data']}, preset `{content['preset']}`, {networks[0]['patients']} test patients. Dice by patient: "
        "all slices of a test patient are one volume, through the pipeline that serves; none of these patients was "
        "learned from. In brackets 95% intervals of resampled patients."
    )
    words = [content["comparison"]["words"]] if content["comparison"] else []
    return "\n\n".join([*tables, *words, note]) + "\n"


def _table(corner: str, networks: Sequence[Mapping[str, Any]], rows: Mapping[str, Sequence[str]]) -> str:
    titles = [f"**{row['title']}**" if row["winner"] else row["title"] for row in networks]
    lines = [f"| {corner} | {' | '.join(titles)} |", "| --- |" + " ---: |" * len(titles)]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def _dice_rows(networks: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    dice = [row["evaluation"]["measures"]["dice"] for row in networks]
    changes = networks[0]["evaluation"]["robustness"]
    return {
        "mean": [_with_interval(one["mean"], one["mean_interval"]) for one in dice],
        "median": [_with_interval(one["median"], one["median_interval"]) for one in dice],
        "lowest and highest": [f"{row['lowest']:.3f}, {row['highest']:.3f}" for row in networks],
        **{title: [f"{row['evaluation']['robustness'][title]['mean']:.3f}" for row in networks] for title in changes},
        "parameters": [f"{row['parameters']:,}" for row in networks],
        "epochs, minutes": [f"{row['epochs']}, {row['minutes']:.0f}" for row in networks],
    }


def _lesion_rows(networks: Sequence[Mapping[str, Any]], which: str) -> dict[str, list[str]]:
    found = [row[which]["lesions"] for row in networks]
    strata = {
        f"found, {stratum}": [
            f"{one['by_diameter'][stratum]['sensitivity']:.2f} of {one['by_diameter'][stratum]['lesions']}"
            for one in found
        ]
        for stratum in found[0]["by_diameter"]
    }
    false = [one["false_positives"] for one in found]
    return {
        **strata,
        "false positives a patient": [_with_interval(one["mean"], one["mean_interval"], ".1f") for one in false],
        "lesion-wise Dice": [
            _with_interval(one["lesionwise_dice"]["mean"], one["lesionwise_dice"]["mean_interval"]) for one in found
        ],
    }


def _site_rows(networks: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    sites = [row["evaluation"]["subgroups"]["site"] for row in networks]
    return {
        f"{site}, {one['patients']} patients": [
            _with_interval(by[site]["mean"], by[site]["mean_interval"]) for by in sites
        ]
        for site, one in sites[0].items()
    }


def _with_interval(value: float, interval: Mapping[str, float], digits: str = ".3f") -> str:
    return f"{value:{digits}} ({interval['low']:{digits}} to {interval['high']:{digits}})"


def templates() -> jinja2.Environment:
    """Of the templates that lie beside this module."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _order(results: Mapping[str, EvaluationResult], winner: str) -> list[str]:
    """Test patients, the winner's best first."""
    patients = set(results[winner].dice)
    if any(set(result.dice) != patients for result in results.values()):
        raise ValueError("the networks were tested on different patients, so they cannot be compared")
    return sorted(patients, key=lambda patient: (-results[winner].dice[patient], patient))


def _rows(run: RunRecord, results: Mapping[str, EvaluationResult], winner: str) -> list[dict[str, Any]]:
    """One row of figures a network."""
    if missing := results.keys() - run["networks"].keys():
        raise ValueError(f"the run's record lacks {', '.join(sorted(missing))}")
    return [
        {"network": name, "winner": name == winner, **run["networks"][name], **result.summary.model_dump()}
        for name, result in results.items()
    ]


def _sites(split: Split) -> list[tuple[str, dict[str, int]]]:
    """Patients of each site by side."""
    counts = {side: Counter(map(site, ids)) for side, ids in asdict(split).items()}
    names = sorted(set().union(*counts.values()))
    return [(name, {side: count[name] for side, count in counts.items()}) for name in names]


def _curves(
    curves: Mapping[str, Sequence[Mapping[str, float | None]]], styles: Mapping[str, str]
) -> list[charts.Lines]:
    def series(key: str, dashed: bool = False) -> list[charts.Series]:
        return [
            charts.Series(
                name, styles[name], dashed, [_point(point, key) for point in points if point.get(key) is not None]
            )
            for name, points in curves.items()
        ]

    drawn = [
        charts.lines("Loss: validation solid, training dashed", series("train_loss", dashed=True) + series("val_loss")),
        charts.lines("Validation Dice, mean of patients", series("val_dice"), highest=1.0),
        charts.lines("Learning rate", series("lr")),
    ]
    return [chart for chart in drawn if chart]


def _point(point: Mapping[str, float | None], key: str) -> tuple[float, float]:
    return float(point["epoch"] or 0), float(point[key] or 0)


def _panels(
    example: Example, run: RunRecord, results: Mapping[str, EvaluationResult], styles: Mapping[str, str]
) -> dict[str, Any]:
    """What the template draws of an example: the picture once, outlines over it."""
    truth = example.truth
    return {
        "patient": example.patient,
        "label": example.label,
        "rows": truth.shape[0],
        "columns": truth.shape[1],
        "view": charts.view(example.picture[..., SHOWN_CHANNEL]),
        "picture": charts.png_uri(np.ascontiguousarray(example.picture[..., SHOWN_CHANNEL])),
        "truth": charts.outline(truth),
        "truth_px": int(truth.sum()),
        "networks": [
            {
                "title": run["networks"][name]["title"],
                "style": styles[name],
                "dice": results[name].dice[example.patient],
                "outline": charts.outline(mask),
                "hit_px": int((mask & truth).sum()),
                "missed_px": int((truth & ~mask).sum()),
                "added_px": int((mask & ~truth).sum()),
            }
            for name, mask in example.predictions.items()
        ],
    }

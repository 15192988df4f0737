"""The results of a run as JSON, with and without patients' names, and as the tables of the documents."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metseg.atomic_io import atomic_write_bytes
from metseg_trainer.evaluation import RunEvaluation
from metseg_trainer.reporting.run_record import RunRecord, network_rows
from metseg_trainer.training import BY_PATIENT, BY_SLICE

__all__ = [
    "PATIENTS",
    "RESULTS",
    "results_markdown",
    "structures_markdown",
    "write_patient_results",
    "write_results",
]

RESULTS = "results.json"
PATIENTS = "patients.json"
"""Metrics by patient: it names patients, so it stays with the run and is never in a version."""


def write_results(path: Path, *, run: RunRecord, evaluation: RunEvaluation, verdict: str) -> None:
    """Write the results without patients' names, as published with a model.

    Args:
        path: of the file.
        run: how the networks were trained.
        evaluation: of the networks.
        verdict: the decision with its reason, in sentences.
    """
    rows = network_rows(run, evaluation)
    for row in rows:
        row["evaluation"] = evaluation.results[row["network"]].card().model_dump()
        if implanted := evaluation.implanted.get(row["network"]):
            row["implanted"] = implanted.card().model_dump()
    content = {
        "created_at": run["created_at"],
        "preset": run["preset"],
        "split_by": run["configuration"].get("split_by", BY_PATIENT),
        "data": run["data_name"],
        "git_revision": run["git_revision"],
        "winner": evaluation.winner,
        "verdict": verdict,
        "comparison": None if evaluation.comparison is None else evaluation.comparison.model_dump(),
        "networks": rows,
    }
    _write_json(path, content, indent=2)


def write_patient_results(path: Path, evaluation: RunEvaluation) -> None:
    """Write the metrics by network and patient, with the patients' names.

    Args:
        path: of the file.
        evaluation: of the networks.
    """
    content = {
        name: {
            id: {
                **asdict(one.mask),
                "lesions": [asdict(lesion) for lesion in one.lesions.lesions],
                "false_positives_mm": one.lesions.false_positives_mm,
                "groups": one.groups,
                "shifted": {key: by[id] for key, by in result.corrupted.items()},
            }
            for id, one in result.patients.items()
        }
        for name, result in evaluation.results.items()
    }
    _write_json(path, content, indent=1)


def _write_json(path: Path, content: Mapping[str, Any], indent: int) -> None:
    atomic_write_bytes(path, (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


def results_markdown(path: Path) -> str:
    """The tables of a results.json, as in the README; the winner is bold."""
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
        "used in training. In brackets 95% intervals of resampled patients."
    )
    words = [content["comparison"]["words"]] if content["comparison"] else []
    return "\n\n".join([*tables, *words, note]) + "\n"


def structures_markdown(path: Path) -> str:
    """The tables of a results.json of networks of the core: one for each set of studies."""
    content = json.loads(path.read_text(encoding="utf-8"))
    networks = content["networks"]
    blocks = [
        f"{one['title']}: {one['parameters']:,} parameters, {one['patches']:,} patches in training." for one in networks
    ]
    for name in networks[0]["sets"]:
        rows = [{"title": one["title"], "winner": False, "evaluation": one["sets"][name]} for one in networks]
        dice = [one["evaluation"]["measures"]["dice"] for one in rows]
        cells = {
            "Dice, mean": [_with_interval(one["mean"], one["mean_interval"]) for one in dice],
            "median": [f"{one['median']:.3f}" for one in dice],
            "lowest": [f"{one['evaluation']['lowest']:.3f}" for one in rows],
            **_lesion_rows(rows, "evaluation"),
        }
        title = f"{name[0].upper()}{name[1:]}: {dice[0]['patients']}"
        blocks += [
            _table(title, rows, cells),
            *(words for words in content["comparisons"] if words.startswith(f"{name}: ")),
        ]
    return "\n\n".join(blocks) + "\n"


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
        "false positives per patient": [_with_interval(one["mean"], one["mean_interval"], ".1f") for one in false],
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

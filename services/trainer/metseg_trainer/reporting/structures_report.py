"""The report of a network of the core, joined with one of the whole: each set of studies on its structure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metseg.atomic_io import atomic_write_bytes
from metseg.contracts import DISCLAIMER, Evaluation, ModelCard
from metseg_trainer.evaluation import EMPTY_CONVENTION
from metseg_trainer.networks import network_title
from metseg_trainer.reporting import charts
from metseg_trainer.reporting.examples import Example, example_panels
from metseg_trainer.reporting.report import ANONYMOUS_REPORT, REPORT
from metseg_trainer.reporting.templates import render

__all__ = ["StructureReport", "write_structure_reports", "write_structure_results"]

MAX_ROWS = 60
"""Of studies that are shown one by one."""


@dataclass(frozen=True, eq=False)
class StructureReport:
    """What a report shows.

    Attributes:
        network: whose report it is.
        cards: of that network and of those that were evaluated on the same studies, by network.
        dice: by network, set of studies, and study.
        comparisons: of the networks by set, in sentences.
        verdict: whether the version was promoted, in sentences.
        configurations: of the trainings, by network.
        examples: studies to show, by set.
        variants: of the network that could have been served; see `variant_rows`.
    """

    network: str
    cards: Mapping[str, ModelCard]
    dice: Mapping[str, Mapping[str, Mapping[str, float]]]
    comparisons: Sequence[str]
    verdict: str
    configurations: Mapping[str, Mapping[str, Any]]
    examples: Mapping[str, Sequence[Example]]
    variants: Sequence[Mapping[str, Any]] = ()

    @property
    def patches(self) -> dict[str, int]:
        """How many patches each network learned from in its training."""
        return {name: one["epochs"] * one["samples_per_epoch"] for name, one in self.configurations.items()}

    def evaluations(self, network: str) -> dict[str, Evaluation]:
        """The figures of a network by set of studies; of the one without further figures they are the card's first."""
        card = self.cards[network]
        return {name: card.further_evaluation.get(name) or card.evaluation[card.network] for name in self.dice[network]}


def write_structure_reports(folder: Path, report: StructureReport) -> None:
    """Write report.html, and a report without pictures and names of studies, which is published with the model.

    Args:
        folder: of the network.
        report: what they show.
    """
    for name, anonymous in ((REPORT, False), (ANONYMOUS_REPORT, True)):
        (folder / name).write_text(_page(report, anonymous=anonymous), encoding="utf-8")


def write_structure_results(path: Path, report: StructureReport) -> None:
    """Write the figures by set of studies as JSON, without names of studies.

    Args:
        path: of the file.
        report: the networks, and how they compare.
    """
    networks = [
        {
            "title": card.network,
            "version": card.version,
            "parameters": card.parameters,
            "patches": report.patches[name],
            "sets": {
                title: {"lowest": min(report.dice[name][title].values()), **evaluation.model_dump()}
                for title, evaluation in report.evaluations(name).items()
            },
        }
        for name, card in report.cards.items()
    ]
    content = {"networks": networks, "variants": report.variants, "comparisons": report.comparisons}
    atomic_write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _page(report: StructureReport, *, anonymous: bool) -> str:
    titles = {name: network_title(name) for name in report.cards}
    styles = {name: charts.style_of(index) for index, name in enumerate(report.cards)}
    by_set = {name: report.evaluations(name) for name in report.cards}
    sets = [
        _set(report, name, number, styles, {one: found[name] for one, found in by_set.items() if name in found})
        | {"examples": [] if anonymous else _examples(report, name, titles, styles)}
        for number, name in enumerate(by_set[report.network])
    ]
    return render(
        "structures.html.j2",
        card=report.cards[report.network],
        title=titles[report.network],
        titles=titles,
        styles=styles,
        sets=sets,
        comparisons=report.comparisons,
        verdict=report.verdict,
        patches=report.patches,
        configuration=report.configurations[report.network],
        variants=report.variants,
        convention=EMPTY_CONVENTION,
        disclaimer=DISCLAIMER,
    )


def _set(
    report: StructureReport, name: str, number: int, styles: Mapping[str, str], evaluations: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """The values for a set of studies in the template. Studies are numbered: a published report names none."""
    own = report.dice[report.network][name]
    order = sorted(own, key=lambda study: (-own[study], study))
    labels = {study: f"study {rank + 1}" for rank, study in enumerate(order)}
    scores = {
        styles[network]: {labels[study]: score for study, score in dice[name].items()}
        for network, dice in report.dice.items()
        if dice.get(name, {}).keys() == own.keys()
    }
    curves = {
        styles[network]: [(point.false_positives, point.sensitivity) for point in one.lesions.froc]
        for network, one in evaluations.items()
        if one.lesions.froc
    }
    served = {
        styles[network]: (one.lesions.false_positives.mean, _sensitivity(one))
        for network, one in evaluations.items()
        if one.lesions.froc
    }
    return {
        "name": name,
        "number": number,
        "studies": len(own),
        "evaluations": evaluations,
        "froc": charts.free_response(curves, served) if curves else None,
        "reliability": charts.reliability_diagram(
            {
                styles[network]: [(point.said, point.true) for point in one.reliability]
                for network, one in evaluations.items()
            }
        ),
        "by_study": charts.dice_by_patient(scores, list(labels.values())) if len(order) <= MAX_ROWS else None,
    }


def _sensitivity(evaluation: Evaluation) -> float:
    """The share of all lesions that are found."""
    strata = evaluation.lesions.by_diameter.values()
    return sum(one.sensitivity * one.lesions for one in strata) / max(1, sum(one.lesions for one in strata))


def _examples(
    report: StructureReport, name: str, titles: Mapping[str, str], styles: Mapping[str, str]
) -> list[dict[str, Any]]:
    dice = {network: by_set.get(name, {}) for network, by_set in report.dice.items()}
    return [example_panels(example, titles, dice, styles) for example in report.examples.get(name, ())]

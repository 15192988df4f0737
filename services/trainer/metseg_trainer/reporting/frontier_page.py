"""The page of a frontier: Dice against time, and a table of all variants."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metseg_trainer.reporting import charts
from metseg_trainer.reporting.templates import render

__all__ = ["write_frontier_page"]

PAGE = "frontier.html"


def write_frontier_page(folder: Path, record: Mapping[str, Any]) -> None:
    """Write frontier.html.

    Args:
        folder: of the run.
        record: the content of frontier.json.
    """
    rows = record["variants"]
    titles = list(dict.fromkeys(row["title"] for row in rows))
    styles = {title: charts.style_of(index) for index, title in enumerate(titles)}
    variants = [
        charts.FrontierPoint(
            style=styles[row["title"]],
            ms=row["ms_a_slice"],
            dice=row["validation"]["mean"],
            hollow=row["precision"] != "fp32",
            on_front=row["on_front"],
            selected=row["chosen"],
        )
        for row in rows
    ]
    best = max(row["validation"]["mean"] for row in rows)
    page = render(
        "frontier.html.j2",
        record=record,
        chart=charts.frontier(variants, best - record["margin"]),
        styles=styles,
    )
    (folder / PAGE).write_text(page, encoding="utf-8")

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
    styles = {title: f"n{index}" for index, title in enumerate(dict.fromkeys(row["title"] for row in rows))}
    spots = [
        charts.Spot(
            row["ms_a_slice"],
            row["validation"]["mean"],
            f"{styles[row['title']]} {row['precision']}",
            f"{row['run']}/{row['key']}: {row['ms_a_slice']:.1f} ms, Dice {row['validation']['mean']:.4f}",
            row["on_front"],
            row["chosen"],
        )
        for row in rows
    ]
    best = max(row["validation"]["mean"] for row in rows)
    page = render(
        "frontier.html.j2",
        record=record,
        chart=charts.scatter(spots, best - record["margin"]),
        networks=[(style, title) for title, style in styles.items()],
    )
    (folder / PAGE).write_text(page, encoding="utf-8")

"""Output on stdout: plain tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from datetime import datetime

from metseg.contracts import Contract

__all__ = ["format_time", "print_json", "print_table"]


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with two spaces between columns.

    Args:
        header: one title per column.
        rows: one value per column each.
    """
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(response: Contract | Sequence[Contract]) -> None:
    """Print what the server returned as JSON, without unknown values."""
    value = response.model_dump(mode="json", exclude_none=True) if isinstance(response, Contract) else [
        each.model_dump(mode="json", exclude_none=True) for each in response
    ]  # fmt: skip
    print(json.dumps(value, indent=2, ensure_ascii=False))


def format_time(time: datetime | None) -> str:
    """A local time for a table; empty if None."""
    return "" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M:%S}"

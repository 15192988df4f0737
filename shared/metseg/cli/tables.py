"""Plain tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from datetime import datetime

from metseg.contracts import Contract

__all__ = ["moment", "print_json", "print_table"]


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be, two spaces between."""
    cells = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(what: Contract | Sequence[Contract]) -> None:
    """What the server told, as JSON; unknown figures are left out."""
    told = what.model_dump(mode="json", exclude_none=True) if isinstance(what, Contract) else [
        each.model_dump(mode="json", exclude_none=True) for each in what
    ]  # fmt: skip
    print(json.dumps(told, indent=2, ensure_ascii=False))


def moment(time: datetime | None) -> str:
    """A time as a table shows it."""
    return "" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M:%S}"

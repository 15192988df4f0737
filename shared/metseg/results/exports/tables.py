"""The lesions as a table: CSV for spreadsheets, JSON for programs. Equal results give equal bytes."""

import csv
import json
import unicodedata
from collections.abc import Iterator
from io import StringIO
from typing import Any, BinaryIO

from metseg.contracts import Lesion, Result
from metseg.results.exports.finished_job import FinishedJob

__all__ = ["write_lesions_csv", "write_lesions_json"]

AXES: dict[str, tuple[str, ...]] = {
    "centroid": ("centroid_slice_index", "centroid_row_index", "centroid_column_index"),
    "centroid_mm": ("centroid_right_mm", "centroid_anterior_mm", "centroid_superior_mm"),
    "peak": ("peak_slice_index", "peak_row_index", "peak_column_index"),
    "first": ("box_first_slice_index", "box_first_row_index", "box_first_column_index"),
    "stop": ("box_stop_slice_index", "box_stop_row_index", "box_stop_column_index"),
}
"""Columns of the parts of a coordinate, each with its unit; patient axes point right, anterior and superior (RAS+)."""
COLUMN_NAMES = {"largest_slice": "largest_slice_index"}
FIRST = (
    *("number", "label", "finding", "target", "long_diameter_mm", "perpendicular_diameter_mm", "volume_mm3"),
    *("largest_slice_number", "largest_slice_name", *AXES["centroid_mm"]),
)
"""What people look for. Slices are numbered from 1 as on the page; an index is from 0, for programs."""
LAST = ("reviewed", "model_version", "threshold")
DECIMALS = 3
FORMULA = ("=", "+", "-", "@")
"""Characters that start a formula in a spreadsheet, also in full width and after space."""
NOT_IN_CSV = {"diameters"}
EXCLUDED = {"job_id", "slices", "durations_s", "grid"}


def write_lesions_csv(job: FinishedJob, target: BinaryIO) -> None:
    """Write one row per lesion, largest first, as in RFC 4180: CRLF, a header; unknown values are empty cells.

    UTF-8 starts with a byte order mark, without which Excel takes umlauts for two characters each. A text that a
    spreadsheet would evaluate is prefixed with an apostrophe (OWASP, CSV injection).

    Args:
        job: a finished job.
        target: where the table is written.
    """
    result = job.result()
    rows = [dict(_cells(result, lesion)) for lesion in result.lesions]
    text = StringIO(newline="")
    writer = csv.DictWriter(text, _columns(), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _as_cell(value) for name, value in row.items()} for row in rows)
    target.write(text.getvalue().encode("utf-8-sig"))


def write_lesions_json(job: FinishedJob, target: BinaryIO) -> None:
    """Write the lesions with the names of their slices, and what they share: model, threshold, spacing.

    Args:
        job: a finished job.
        target: where the table is written.
    """
    result = job.result()
    table = result.model_dump(mode="json", exclude=EXCLUDED)
    for lesion in table["lesions"]:
        lesion["largest_slice_name"] = result.slices[lesion["largest_slice"]].name
    target.write(json.dumps(table, indent=2, ensure_ascii=False).encode())


def _cells(result: Result, lesion: Lesion) -> Iterator[tuple[str, Any]]:
    yield "finding", result.finding
    yield from (("largest_slice_number", lesion.largest_slice + 1), ("reviewed", result.review is not None))
    yield from (("model_version", result.model_version), ("threshold", result.threshold))
    yield "largest_slice_name", result.slices[lesion.largest_slice].name
    for name, value in lesion.model_dump(exclude=NOT_IN_CSV).items():
        yield from _flat(name, value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """The cells of one measurement."""
    if isinstance(value, dict):
        for part, each in value.items():
            yield from _flat(part, each)
    elif name in AXES:
        yield from zip(AXES[name], value or [None] * len(AXES[name]), strict=True)
    else:
        yield _column(name), value


def _columns() -> list[str]:
    """All columns in order, so that an empty table has them too."""
    names: list[str] = []
    for name in Lesion.model_fields:
        if name not in NOT_IN_CSV:
            names += (*AXES["first"], *AXES["stop"]) if name == "box" else AXES.get(name, (_column(name),))
    return list(dict.fromkeys([*FIRST, *(name for name in names if name not in LAST), *LAST]))


def _column(name: str) -> str:
    return COLUMN_NAMES.get(name, name)


def _as_cell(value: Any) -> Any:  # noqa: ANN401
    """A value as people read it in a spreadsheet."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0  # no minus zero
    if not isinstance(value, str):
        return value
    is_formula = unicodedata.normalize("NFKC", value).lstrip().startswith(FORMULA)
    return f"'{value}" if is_formula or value.startswith(("\t", "\r", "\n")) else value

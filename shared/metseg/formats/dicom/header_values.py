"""Values of a DICOM header as Python has them, judged as hostile: to be called within `legible`."""

import math
from typing import Any

from pydicom.dataset import Dataset

from metseg.errors import UnreadableImage

__all__ = ["Six", "Three", "check_near", "item", "number", "numbers", "six", "text", "texts", "three", "two"]

FURTHEST_MM = 1e5
Three = tuple[float, float, float]
Six = tuple[float, float, float, float, float, float]


def item(group: Dataset, macro: str) -> Dataset | None:
    """The first item of a sequence; None where there is none."""
    items = group.get(macro)
    return items[0] if items else None


def _values(found: Dataset, keyword: str) -> list[Any]:
    value = found.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if not isinstance(value, str) and hasattr(value, "__iter__") else [value]


def texts(found: Dataset, keyword: str) -> list[str]:
    """The values of an element in words; none where it is missing."""
    return [str(value).strip() for value in _values(found, keyword)]


def text(found: Dataset, keyword: str) -> str:
    """The first of them, or nothing."""
    return next(iter(texts(found, keyword)), "")


def numbers(found: Dataset, keyword: str, count: int | None = None) -> list[float] | None:
    """The numbers of an element; None where it is missing or has fewer or more.

    Raises:
        UnreadableImage: one of them is infinite or none.
    """
    told = [float(value) for value in _values(found, keyword)]
    if not all(map(math.isfinite, told)):
        raise UnreadableImage("A DICOM header holds a number that is infinite or none; export the file again.")
    return None if not told or (count is not None and len(told) != count) else told


def number(found: Dataset, keyword: str) -> float | None:
    """The first number of an element; see `numbers`."""
    return next(iter(numbers(found, keyword) or []), None)


def two(pair: list[float] | None) -> tuple[float, float] | None:
    """Two sizes above 0, or None."""
    if pair is None or min(pair) <= 0:
        return None
    check_near(pair)
    return pair[0], pair[1]


def three(place: list[float] | None) -> Three | None:
    """A place, or None."""
    if place is None:
        return None
    check_near(place)
    return place[0], place[1], place[2]


def check_near(places: list[float]) -> None:
    """Refuse places and sizes that lie outside any scanner, before they are computed with.

    Raises:
        UnreadableImage: one does.
    """
    if max(map(abs, places)) > FURTHEST_MM:
        raise UnreadableImage("A DICOM header tells a place or a size that no scanner has; export the file again.")


def six(directions: list[float] | None) -> Six | None:
    """Two unit vectors at a right angle, or None."""
    if directions is None:
        return None
    columns, rows = directions[:3], directions[3:]
    along = sum(one * other for one, other in zip(columns, rows, strict=True))
    if abs(along) > 0.01 or any(abs(math.hypot(*each) - 1) > 0.01 for each in (columns, rows)):
        return None
    return (*columns, *rows)  # type: ignore[return-value]

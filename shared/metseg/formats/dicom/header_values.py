"""Values of a DICOM header as Python types, checked as hostile input.

Required elements are parsed leniently, but must be present; optional ones count as missing if they do not follow the
standard.
"""

import math
from typing import Any

from pydicom.dataset import Dataset

from metseg.errors import UnreadableImage

__all__ = [
    "MIN_PIXEL_MM",
    "DirectionCosines",
    "Vector",
    "as_orientation",
    "as_position",
    "as_spacing",
    "check_plausible_mm",
    "first_item",
    "get_number",
    "get_numbers",
    "get_string",
    "get_strings",
]

MAX_POSITION_MM = 1e5
MIN_PIXEL_MM = 1e-4
NEEDED = frozenset(
    [
        *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "RescaleSlope", "RescaleIntercept"),
        *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    ]
)
"""Without these elements, or with wrong ones, the pixels or their positions are wrong."""
Vector = tuple[float, float, float]
DirectionCosines = tuple[float, float, float, float, float, float]


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence.

    Args:
        dataset: that has it.
        keyword: of the sequence.

    Returns:
        None where it is missing or empty.
    """
    items = dataset.get(keyword)
    return items[0] if items else None


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    if isinstance(value, str) and "\\" in value:
        return value.split("\\")  # a type of long text, in which the standard allows no list
    return list(value) if not isinstance(value, str) and hasattr(value, "__iter__") else [value]


def get_strings(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an element as strings.

    Args:
        dataset: that has it.
        keyword: of the element.

    Returns:
        Without surrounding space; empty where the element is missing.
    """
    return [str(value).strip() for value in _values(dataset, keyword)]


def get_string(dataset: Dataset, keyword: str) -> str:
    """The first value of an element as a string.

    Args:
        dataset: that has it.
        keyword: of the element.

    Returns:
        An empty string where the element is missing.
    """
    return next(iter(get_strings(dataset, keyword)), "")


def get_numbers(dataset: Dataset, keyword: str, count: int | None = None) -> list[float] | None:
    """The numbers of an element.

    Args:
        dataset: that has it.
        keyword: of the element.
        count: the required number; None: any.

    Returns:
        None where the element is missing or has another number of values.

    Raises:
        UnreadableImage: an element that an image needs is infinite or not a number; it is named.
    """
    try:
        values = [_as_number(value) for value in _values(dataset, keyword)]
    except (ValueError, TypeError, OverflowError) as error:
        if keyword in NEEDED:
            raise UnreadableImage(f"{keyword} of a DICOM file is not a number; correct it.") from error
        return None
    return None if not values or (count is not None and len(values) != count) else values


def _as_number(value: Any) -> float:  # noqa: ANN401
    number = float(value.replace(",", ".") if isinstance(value, str) else value)
    if not math.isfinite(number):
        raise ValueError("infinite or no number")
    return number


def get_number(dataset: Dataset, keyword: str) -> float | None:
    """The first number of an element; raises as `get_numbers`.

    Args:
        dataset: that has it.
        keyword: of the element.

    Returns:
        None where the element is missing.
    """
    return next(iter(get_numbers(dataset, keyword) or []), None)


def as_spacing(pair: list[float] | None) -> tuple[float, float] | None:
    """Two sizes above 0, or None."""
    if pair is None or min(pair) <= 0:
        return None
    check_plausible_mm(pair)
    if min(pair) < MIN_PIXEL_MM:
        raise UnreadableImage("A DICOM header has pixels smaller than any scanner's; export the file again.")
    return pair[0], pair[1]


def as_position(values: list[float] | None) -> Vector | None:
    """A position in millimetres, or None."""
    if values is None:
        return None
    check_plausible_mm(values)
    return values[0], values[1], values[2]


def check_plausible_mm(values: list[float]) -> None:
    """Refuse positions and sizes larger than any scanner, before they are used.

    Raises:
        UnreadableImage: one is.
    """
    if max(map(abs, values)) > MAX_POSITION_MM:
        raise UnreadableImage("A DICOM header has a position or a size that no scanner has; export the file again.")


def as_orientation(directions: list[float] | None) -> DirectionCosines | None:
    """Two unit vectors at a right angle, or None."""
    if directions is None:
        return None
    columns, rows = directions[:3], directions[3:]
    cosine = sum(one * other for one, other in zip(columns, rows, strict=True))
    if abs(cosine) > 0.01 or any(abs(math.hypot(*each) - 1) > 0.01 for each in (columns, rows)):
        return None
    return (*columns, *rows)  # type: ignore[return-value]

"""The chart of a follow-up: coordinates of lines, dots and texts for a picture of vectors."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from metseg.contracts import LesionTrack

__all__ = ["Chart", "draw_chart"]

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 200, 34, 10, 22
MARGIN = 12  # of the first and last date, for their dots
STEPS_MM = (1, 2, 5, 10, 20, 50, 100)
MAX_TICKS = 6


class Tick(NamedTuple):
    """A length on the vertical axis."""

    y: float
    text: str


class Day(NamedTuple):
    """A date on the horizontal axis."""

    x: float
    text: str


class Line(NamedTuple):
    """A lesion: `dots` are where it was measured, `points` the same as SVG writes them."""

    points: str
    dots: Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """The long diameters over time, in pixels."""

    ticks: Sequence[Tick]
    dates: Sequence[Day]
    lines: Sequence[Line]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def draw_chart(names: Sequence[str], dates: Sequence[date | None], tracks: Sequence[LesionTrack]) -> Chart:
    """Place the long diameters of lesions over time.

    Args:
        names: of the studies, below the chart.
        dates: of the studies; without all of them, the studies are evenly spaced.
        tracks: the lesions; of each a line.

    Returns:
        The chart.
    """
    xs = _positions(dates)
    lengths = [[None if one is None else one.long_diameter_mm for one in track.measurements] for track in tracks]
    longest = max((length for each in lengths for length in each if length is not None), default=0.0)
    step = next((step for step in STEPS_MM if longest <= step * MAX_TICKS), STEPS_MM[-1])
    top_mm = step * (int(longest // step) + 1)

    def y(length_mm: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * length_mm / top_mm, 1)

    lines = [[(x, y(length)) for x, length in zip(xs, each, strict=True) if length is not None] for each in lengths]
    return Chart(
        ticks=[Tick(y(length), str(length)) for length in range(0, top_mm + 1, step)],
        dates=[Day(x, name) for x, name in zip(xs, names, strict=True)],
        lines=[Line(" ".join(f"{x},{y_}" for x, y_ in dots), dots) for dots in lines],
    )


def _positions(dates: Sequence[date | None]) -> list[float]:
    """Where each date is on the horizontal axis."""
    known = [day.toordinal() for day in dates if day is not None]
    days = known if len(known) == len(dates) and known[-1] > known[0] else list(range(len(dates)))
    length = WIDTH - LEFT - 2 * MARGIN
    return [round(LEFT + MARGIN + length * (day - days[0]) / (days[-1] - days[0]), 1) for day in days]

"""The geometry of the report's figures: scales, lines, dots and outlines; report.html.j2 gives them their ink."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = [
    "Curve",
    "DotRow",
    "Dots",
    "Lines",
    "Scatter",
    "Series",
    "Spot",
    "Tick",
    "dots",
    "lines",
    "reliability",
    "scatter",
]

LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 10.0, 34.0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


class Series(NamedTuple):
    """What a line is drawn from: a name, a style and (epoch, value) points."""

    name: str
    style: str
    dashed: bool
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """One line of a chart: a name, the style of its network and the points `x,y x,y`."""

    name: str
    style: str
    dashed: bool
    points: str


@dataclass(frozen=True)
class Lines:
    """A line chart, ready to draw."""

    title: str
    width: float
    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class DotRow:
    """A patient: the row's height and one (style, x, value) for each network."""

    label: str
    y: float
    dots: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Dots:
    """A dot plot of Dice by patient, ready to draw."""

    width: float
    height: float
    x_ticks: tuple[Tick, ...]
    rows: tuple[DotRow, ...]
    means: tuple[tuple[str, float, float], ...]


class Spot(NamedTuple):
    """A point of a scatter plot: where, how it looks and what it is."""

    x: float
    y: float
    style: str
    label: str
    on_front: bool
    chosen: bool


@dataclass(frozen=True)
class Scatter:
    """Points over two axes, the first logarithmic, ready to draw; `front` joins those that none beats in both."""

    width: float
    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    spots: tuple[Spot, ...]
    front: str
    line_at: float


def lines(title: str, series: Sequence[Series], highest: float | None = None) -> Lines | None:
    """A chart of values over epochs; None where no series has a finite point.

    Args:
        title: what is drawn.
        series: a line each.
        highest: the end of the value axis; None: what the values need.
    """
    finite = [one._replace(points=[point for point in one.points if math.isfinite(point[1])]) for one in series]
    points = [point for one in finite for point in one.points]
    if not points:
        return None
    width, height = 360.0, 230.0
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    y_values = _ticks(0.0, highest or max(y for _, y in points) or 1.0)

    def x_at(x: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * (x - first) / max(last - first, 1)

    def y_at(y: float) -> float:
        return height - BOTTOM - (height - TOP - BOTTOM) * y / y_values[-1]

    return Lines(
        title,
        width,
        height,
        tuple(Tick(x_at(x), f"{x:g}") for x in _ticks(first, last) if x == int(x) and x <= last),
        tuple(Tick(y_at(y), f"{y:.4g}") for y in y_values),
        tuple(
            Curve(one.name, one.style, one.dashed, " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in one.points))
            for one in finite
            if one.points
        ),
    )


def reliability(points: Mapping[str, Sequence[tuple[float, float, int]]], styles: Mapping[str, str]) -> Lines:
    """A reliability diagram: what was said against what was true, and the diagonal that both should lie on.

    Args:
        points: by network, (said, true, pixels) of each bin.
        styles: by network.
    """
    side = 360.0

    def at(x: float, y: float) -> str:
        return f"{LEFT + (side - LEFT - RIGHT) * x:.1f},{side - BOTTOM - (side - TOP - BOTTOM) * y:.1f}"

    tenths = [tenth / 10 for tenth in range(0, 11, 2)]
    diagonal = Curve("as it should be", "ideal", True, f"{at(0, 0)} {at(1, 1)}")
    drawn = (
        Curve(name, styles[name], False, " ".join(at(said, true) for said, true, _ in of))
        for name, of in points.items()
    )
    return Lines(
        "Share that was lesion, by the probability that was said",
        side,
        side,
        tuple(Tick(float(at(x, 0).split(",")[0]), f"{x:g}") for x in tenths),
        tuple(Tick(float(at(0, y).split(",")[1]), f"{y:g}") for y in tenths),
        (diagonal, *drawn),
    )


def scatter(spots: Sequence[Spot], line: float) -> Scatter:
    """Points over a logarithmic and a linear axis.

    Args:
        spots: at least one, in the units of the axes; what is to be drawn has them in pixels.
        line: a value of the second axis that a line is drawn at.
    """
    width, height = 760.0, 420.0
    y_values = _ticks(min(line, *(spot.y for spot in spots)), max(line, *(spot.y for spot in spots)))
    low, high = min(spot.x for spot in spots) / 1.2, max(spot.x for spot in spots) * 1.2
    bottom = min(y_values[0], *(spot.y for spot in spots))

    def x_at(x: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * math.log(x / low) / math.log(high / low)

    def y_at(y: float) -> float:
        return height - BOTTOM - (height - TOP - BOTTOM) * (y - bottom) / max(y_values[-1] - bottom, 1e-9)

    drawn = tuple(spot._replace(x=x_at(spot.x), y=y_at(spot.y)) for spot in sorted(spots))
    powers = [factor * 10.0**power for power in range(-2, 5) for factor in (1, 2, 5)]
    return Scatter(
        width,
        height,
        tuple(Tick(x_at(x), f"{x:g}") for x in powers if low <= x <= high),
        tuple(Tick(y_at(y), f"{y:.3g}") for y in y_values),
        drawn,
        " ".join(f"{spot.x:.1f},{spot.y:.1f}" for spot in drawn if spot.on_front),
        y_at(line),
    )


def dots(scores: Mapping[str, Mapping[str, float]], styles: Mapping[str, str], order: Sequence[str]) -> Dots:
    """A row for each patient and a dot for each network.

    Args:
        scores: Dice by network and patient's label.
        styles: by network.
        order: the patients' labels from top to bottom.
    """
    width, left = 760.0, 190.0
    step = 20.0 if len(order) <= 60 else 12.0

    def x_at(score: float) -> float:
        return left + (width - left - RIGHT) * score

    rows = tuple(
        DotRow(
            label,
            TOP + step * (index + 0.5),
            tuple((styles[name], x_at(by[label]), by[label]) for name, by in scores.items()),
        )
        for index, label in enumerate(order)
    )
    means = tuple((styles[name], x_at(mean := float(np.mean(list(by.values())))), mean) for name, by in scores.items())
    ticks = tuple(Tick(x_at(tenth / 10), f"{tenth / 10:.1f}") for tenth in range(0, 11, 2))
    return Dots(width, TOP + step * len(order) + BOTTOM, ticks, rows, means)


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from `low` to at least `high`, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / (most - 1) or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    begin = math.ceil(low / step - 1e-9)
    end = math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(begin, end + 1)]

"""The charts of the reports, drawn by matplotlib as SVG whose colours follow the page's light or dark style."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

__all__ = [
    "FrontierPoint",
    "dice_by_patient",
    "free_response",
    "frontier",
    "learning_curve",
    "reliability_diagram",
    "style_of",
]

Points = Sequence[tuple[float, float]]

STYLES = 4
"""The number of networks with colours in style.css."""
_INK, _RULE, _CARD, _GOOD = "#010101", "#010102", "#010103", "#010104"
_NETWORKS = tuple(f"#01020{index}" for index in range(STYLES))
_CSS = {
    _INK: "var(--quiet)",
    _RULE: "var(--rule)",
    _CARD: "var(--card)",
    _GOOD: "var(--good)",
    **{colour: f"var(--n{index})" for index, colour in enumerate(_NETWORKS)},
}
"""Placeholder colours, used in no chart otherwise, and the variables of style.css that replace them."""
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "metseg",  # so that equal charts have equal bytes
    "font.size": 8.5,
    "text.color": _INK,
    "text.parse_math": False,  # a patient's name may contain a dollar sign
    "axes.labelcolor": _INK,
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.7,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
}


@dataclass(frozen=True)
class FrontierPoint:
    """A point of the frontier; `style` is of its network."""

    style: str
    ms: float
    dice: float
    hollow: bool
    on_front: bool
    selected: bool


def style_of(index: int) -> str:
    """The class in style.css of the n-th network."""
    return f"n{index % STYLES}"


def learning_curve(
    title: str, solid: Mapping[str, Points], dashed: Mapping[str, Points] | None = None, highest: float | None = None
) -> Markup:
    """Values over epochs.

    Args:
        title: of the chart.
        solid: (epoch, value) by style.
        dashed: (epoch, value) by style, of a second quantity.
        highest: upper end of the value axis; None fits the values.

    Returns:
        SVG.
    """
    with mpl.rc_context(_RC):
        figure, axes = _figure(3.6, 2.3)
        for lines, dashes in ((dashed or {}, (0, (3, 3))), (solid, "-")):
            for style, points in lines.items():
                axes.plot(
                    *_columns(points), color=_colour(style), linestyle=dashes, marker="." if len(points) < 2 else ""
                )
        axes.set_title(title, loc="left", fontsize=_RC["font.size"])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylim(0, highest)
        return _svg(figure, f"{title}, by epoch")


def reliability_diagram(points: Mapping[str, Points]) -> Markup:
    """Predicted probability against the share that is lesion, with the diagonal of a calibrated model.

    Args:
        points: (predicted, true) of each bin, by style.

    Returns:
        SVG.
    """
    with mpl.rc_context(_RC):
        figure, axes = _figure(3.6, 3.6)
        axes.plot((0, 1), (0, 1), color=_INK, linestyle=(0, (3, 3)), linewidth=1)
        for style, of in points.items():
            axes.plot(*_columns(of), color=_colour(style), marker=".")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share that is lesion")
        return _svg(figure, "Share that is lesion, by predicted probability")


def free_response(curves: Mapping[str, Points], served: Mapping[str, tuple[float, float]]) -> Markup:
    """Share of lesions found against false ones per patient (FROC).

    Args:
        curves: (false ones per patient, share found) by style.
        served: the same of the operating point, by style.

    Returns:
        SVG.
    """
    with mpl.rc_context(_RC):
        figure, axes = _figure(3.6, 3.6)
        for style, of in curves.items():
            axes.plot(*_columns(of), color=_colour(style), marker=".")
        for style, (false, found) in served.items():
            axes.scatter(false, found, s=90, facecolors="none", edgecolors=_colour(style), linewidths=1.5, zorder=3)
        axes.set(ylim=(0, 1.02), xlabel="false lesions per study", ylabel="share of lesions found")
        axes.set_xlim(left=0)
        return _svg(figure, "Share of lesions found, by false lesions per study")


def dice_by_patient(scores: Mapping[str, Mapping[str, float]], order: Sequence[str]) -> Markup:
    """A row for each patient and a dot for each network; a dashed line is a network's mean.

    Args:
        scores: Dice by style and patient's label.
        order: the patients' labels from top to bottom.

    Returns:
        SVG.
    """
    rows = range(len(order))
    with mpl.rc_context({**_RC, "axes.grid.axis": "x"}):
        figure, axes = _figure(7.6, 0.55 + (0.2 if len(order) <= 60 else 0.13) * len(order))
        spans = [[by[label] for by in scores.values()] for label in order]
        axes.hlines(rows, [min(one) for one in spans], [max(one) for one in spans], color=_RULE, linewidth=3)
        for style, by in scores.items():
            axes.axvline(fmean(by.values()), color=_colour(style), linestyle=(0, (4, 3)), linewidth=1)
            axes.scatter([by[label] for label in order], rows, color=_colour(style), s=22, zorder=3)
        axes.set_yticks(rows, order)
        axes.set(xlim=(-0.01, 1.01), ylim=(len(order) - 0.5, -0.5), xlabel="Dice")
        return _svg(figure, "Dice of each test patient with each network")


def frontier(variants: Sequence[FrontierPoint], margin_line: float) -> Markup:
    """Dice against milliseconds per slice, with the Pareto front joined.

    Args:
        variants: at least one.
        margin_line: the Dice of the horizontal line.

    Returns:
        SVG.
    """
    with mpl.rc_context(_RC):
        figure, axes = _figure(7.6, 4.2)
        axes.axhline(margin_line, color=_INK, linestyle=(0, (4, 3)), linewidth=1)
        front = sorted((one.ms, one.dice) for one in variants if one.on_front)
        axes.plot(*_columns(front), color=_INK, linestyle=(0, (4, 3)), linewidth=1)
        for one in variants:
            colour = _colour(one.style)
            axes.scatter(one.ms, one.dice, s=24, color=_CARD if one.hollow else colour, edgecolors=colour, zorder=3)
            if one.selected:
                axes.scatter(one.ms, one.dice, s=110, facecolors="none", edgecolors=_GOOD, linewidths=2, zorder=4)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="ms per slice", ylabel="mean patient Dice")
        return _svg(figure, "Dice of each variant against its time")


def _figure(width_inch: float, height_inch: float) -> tuple[Figure, Axes]:
    figure = Figure((width_inch, height_inch), layout="constrained")
    return figure, figure.add_subplot()


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _colour(style: str) -> str:
    return _NETWORKS[int(style.removeprefix("n"))]


def _svg(figure: Figure, label: str) -> Markup:
    """The figure as an element of a page, which scales with it."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for placeholder, css in _CSS.items():
        svg = svg.replace(placeholder, css)
    attributes = Markup('<svg role="img" aria-label="{}" ').format(label)
    return Markup(re.sub(r"^<svg ", lambda _: attributes, svg))  # noqa: S704  # matplotlib escapes every text

"""The slices of a finished job, with what the model marked in them."""

from dataclasses import replace
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import streamlit as st

from metseg.contracts import Result
from metseg_ui import figures, gateway
from metseg_ui.figures import Marking, View

OPACITY = 0.35


class Marks(NamedTuple):
    """What is marked in a slice, beside what is stored of it, each with its threshold."""

    mask: npt.NDArray[np.bool_]
    stored: npt.NDArray[np.bool_]
    chosen: float
    kept: float

    @property
    def note(self) -> str:
        """Words for a picture that does not show the stored result; empty where it does."""
        same = self.chosen == self.kept
        return "" if same else f"Preview at {self.chosen:.2f}, stored at {self.kept:.2f}."


def slice_key(job_id: str) -> str:
    """Where the session keeps the slice that is shown, counted from 1 as readers do."""
    return f"slice-{job_id}"


def jump(job_id: str, index: int) -> None:
    """Show a slice, counted from 0."""
    st.session_state[slice_key(job_id)] = index + 1


def viewer(job_id: str, result: Result) -> None:
    """Picture, slice and threshold, one below the other.

    The session knows every slider's value before the slider is drawn, so the picture comes in its place at once
    and the old one stays in sight until then.
    """
    index = _index(job_id, result)
    pixels = gateway.pixels(job_id, index)
    view, sequence = _view(job_id, pixels)
    marks = _marks(job_id, result, index)
    spacing = (result.spacing_mm or (1.0, 1.0, 1.0))[1:]
    drawn = figures.picture(
        pixels, marks.mask, figures.lesions_of(result, index), spacing, replace(view, note=marks.note)
    )
    alt = figures.description(result, index, sequence, int(marks.mask.sum()))
    st.image(drawn, width="stretch", alt=f"{marks.note} {alt}".strip())
    _slices(job_id, result, index)
    threshold, opacity = st.columns([3, 2]) if view.marking == "Fill" else (st.container(), None)
    with threshold:
        _threshold(job_id, marks)
    if opacity is not None:
        opacity.slider("Opacity", 0.1, 1.0, step=0.05, key="opacity", persist_state="page")


def _index(job_id: str, result: Result) -> int:
    """The slice to show; at first the one where the largest lesion is largest."""
    key = slice_key(job_id)
    if key not in st.session_state:
        jump(job_id, result.lesions[0].largest_slice if result.lesions else len(result.slices) // 2)
    return int(st.session_state[key]) - 1


def _view(job_id: str, pixels: npt.NDArray[np.uint8]) -> tuple[View, str]:
    """How to draw, and the name of the sequence that is drawn."""
    names = figures.sequences(pixels)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        sequence = names[0]
        if len(names) > 1:
            sequence = st.segmented_control(
                "Sequence",
                names,
                default=names[1],
                required=True,
                key=f"sequence-{job_id}",
                label_visibility="collapsed",
            )
        marking: Marking = st.segmented_control(
            "Lesions are drawn as",
            get_args(Marking),
            default="Outline",
            required=True,
            key="marking",
            label_visibility="collapsed",
            persist_state="page",
        )
    channel = names.index(sequence) if len(names) > 1 else 1
    return View(channel, marking, st.session_state.setdefault("opacity", OPACITY)), sequence


def _slices(job_id: str, result: Result, index: int) -> None:
    """Which slice: a slider, the lesion area along it, and the way to the next lesion on either side."""
    count = len(result.slices)
    if count == 1:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _step(job_id, figures.neighbour(result, index, -1), "Previous slice with a lesion", ":material/chevron_left:")
        with st.container(gap=None):
            st.slider(f"Slice {index + 1} of {count}", 1, count, key=slice_key(job_id), persist_state="page")
            st.html(figures.profile(result, index))
        _step(job_id, figures.neighbour(result, index, 1), "Next slice with a lesion", ":material/chevron_right:")


def _step(job_id: str, index: int | None, words: str, icon: str) -> None:
    st.button(
        icon,
        key=f"{words}-{job_id}",
        help=words,
        disabled=index is None,
        width=44,
        on_click=jump,
        args=(job_id, index or 0),
    )


def _marks(job_id: str, result: Result, index: int) -> Marks:
    """What to mark in a slice: the stored mask, or what the threshold of the slider would mark."""
    stored = round(result.threshold, 2)
    chosen: float = st.session_state.setdefault(f"threshold-{job_id}", stored)
    mask = gateway.mask(job_id, index)
    if chosen == stored:
        return Marks(mask, mask, stored, stored)
    return Marks(gateway.probability(job_id, index) >= chosen, mask, chosen, stored)


def _threshold(job_id: str, marks: Marks) -> None:
    """The slider, and while it differs from the stored result, words that say so."""
    key = f"threshold-{job_id}"
    st.slider(
        "Threshold",
        0.01,
        0.99,
        step=0.01,
        key=key,
        persist_state="page",
        help="The probability from which a pixel counts as lesion. Changing it redraws the picture alone.",
    )
    if not marks.note:
        return
    st.caption(
        f":material/info: **Preview at {marks.chosen:.2f}**, {int(marks.mask.sum()):,} px in this slice. The stored "
        f"result, its table and its downloads are at {marks.kept:.2f}, {int(marks.stored.sum()):,} px here."
    )
    st.button("Reset the threshold", key=f"reset-{job_id}", on_click=_set, args=(key, marks.kept))


def _set(key: str, value: float) -> None:
    st.session_state[key] = value

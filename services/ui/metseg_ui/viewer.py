"""The slices of a finished job, with what the model marked in them."""

from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import streamlit as st

from metseg.contracts import Result
from metseg_ui import figures, gateway
from metseg_ui.figures import Marking, View


def slice_key(job_id: str) -> str:
    """Where the session keeps the slice that is shown, counted from 1 as readers do."""
    return f"slice-{job_id}"


def jump(job_id: str, index: int) -> None:
    """Show a slice, counted from 0."""
    st.session_state[slice_key(job_id)] = index + 1


def viewer(job_id: str, result: Result) -> None:
    """Picture, slice and threshold, one below the other."""
    index = _index(job_id, result)
    pixels = gateway.pixels(job_id, index)
    view, sequence = _view(job_id, pixels)
    area = st.empty()
    _slices(job_id, result, index)
    below = st.columns([3, 2] if view.marking == "Fill" else 1)
    with below[0]:
        mask, note = _mask(job_id, result, index)
    if view.marking == "Fill":
        view = replace(
            view, opacity=below[1].slider("Opacity", 0.1, 1.0, 0.35, 0.05, key="opacity", persist_state="page")
        )
    spacing = (result.spacing_mm or (1.0, 1.0, 1.0))[1:]
    drawn = figures.picture(pixels, mask, figures.lesions_of(result, index), spacing, replace(view, note=note))
    alt = figures.description(result, index, sequence, int(mask.sum()))
    area.image(drawn, width="stretch", alt=f"{note} {alt}".strip())


def _index(job_id: str, result: Result) -> int:
    """The slice to show; at first the one where the largest lesion is largest."""
    key = slice_key(job_id)
    if key not in st.session_state:
        jump(job_id, result.lesions[0].largest_slice if result.lesions else len(result.slices) // 2)
    return int(st.session_state[key]) - 1


def _view(job_id: str, pixels: npt.NDArray[np.uint8]) -> tuple[View, str]:
    """How to draw, but for the opacity, and the name of the sequence that is drawn."""
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
    return View(channel, marking), sequence


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


def _mask(job_id: str, result: Result, index: int) -> tuple[npt.NDArray[np.bool_], str]:
    """What to mark, and a note: the stored mask, or what another threshold would mark in this slice."""
    stored, key = round(result.threshold, 2), f"threshold-{job_id}"
    threshold = st.slider(
        "Threshold",
        0.01,
        0.99,
        stored,
        0.01,
        key=key,
        persist_state="page",
        help="The probability from which a pixel counts as lesion. Changing it redraws the picture alone.",
    )
    mask = gateway.mask(job_id, index)
    if threshold == stored:
        return mask, ""
    preview = gateway.probability(job_id, index) >= threshold
    st.caption(
        f":material/info: **Preview at {threshold:.2f}**, {int(preview.sum()):,} px in this slice. The stored result, "
        f"its table and its downloads are at {stored:.2f}, {int(mask.sum()):,} px here."
    )
    st.button("Reset the threshold", key=f"reset-{job_id}", on_click=_set, args=(key, stored))
    return preview, f"Preview at {threshold:.2f}, stored at {stored:.2f}."


def _set(key: str, value: float) -> None:
    st.session_state[key] = value

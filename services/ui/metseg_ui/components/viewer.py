"""The slice viewer: NiiVue in the browser, and the data that it gets from the page.

Pixels never pass through Streamlit: the browser fetches them from `proxy_routes`.
"""

import json
from functools import partial
from typing import Any

import streamlit as st
from pydantic import ValidationError

from metseg.client import RemoteProblem
from metseg.contracts import Lesion, Result, Review, ReviewRecord
from metseg.imaging import ROLES
from metseg_ui import proxy_routes
from metseg_ui.components.modules import MOUNT, module_path
from metseg_ui.state import gateway, sessions
from metseg_ui.text import messages, summaries

GREY_LAYER = "flair"
LESION_COLORS = (
    (255, 92, 56),
    (94, 186, 255),
    (255, 221, 87),
    (206, 134, 255),
    (137, 222, 80),
    (255, 128, 190),
    (255, 170, 70),
    (160, 170, 255),
)
"""Red, green and blue of lesions 1, 2, ...; after the last the first is used again."""
SECOND_COLOR = (45, 212, 191)
"""Of the whole, or of another model's mask."""
OWN_COLOR = (225, 225, 225)
"""Of the model's own answer, next to a reviewed one."""
NO_PROBLEM = {"serial": 0}
INVALID_REVIEW = (
    "This review cannot be stored: a label has a sign that DICOM does not allow, or there are too many strokes."
)
NO_JUMP = {"lesion": 1, "serial": 0}

_viewer = st.components.v2.component(
    "metseg_viewer",
    html='<div class="viewer-root"></div>',
    js=MOUNT,
    css=(proxy_routes.ASSETS / "viewer.css").read_text(encoding="utf-8"),
)


def render(job_id: str, result: Result, compared_job_id: str | None = None) -> None:
    """Show the slices of a job with its lesions.

    Args:
        job_id: of a job that succeeded.
        result: of the job.
        compared_job_id: a second job on the same scan, whose mask is also shown; None: no such job.
    """
    key = f"viewer-{job_id}"
    data = _component_data(job_id, result, compared_job_id)
    _viewer(
        key=key,
        data=data,
        on_slice_change=partial(_store_slice, job_id, key),
        on_review_change=partial(_store_review, job_id, key),
    )


def current_slice(job_id: str, result: Result) -> int:
    """The slice that is shown; at first the one in which the largest lesion is largest.

    Args:
        job_id: of the job.
        result: of the job.

    Returns:
        Its index, from 0.
    """
    first = result.lesions[0].largest_slice if result.lesions else len(result.slices) // 2
    return int(st.session_state.get(_slice_key(job_id), first))


def go_to_lesion(job_id: str, lesion: Lesion) -> None:
    """Show a lesion in the slice in which it is largest.

    Args:
        job_id: of the job that is shown.
        lesion: of its result.
    """
    st.session_state[_slice_key(job_id)] = lesion.largest_slice
    serial = st.session_state.get("jump", NO_JUMP)["serial"] + 1
    st.session_state["jump"] = {"lesion": lesion.number, "serial": serial}


def _store_slice(job_id: str, key: str) -> None:
    st.session_state[_slice_key(job_id)] = int(st.session_state[key].slice)


def _store_review(job_id: str, key: str) -> None:
    """Store the review that the viewer sends; why that failed is sent back to the viewer."""
    sent = st.session_state[key].review
    if sent is None:
        return
    problem_key = f"review-problem-{job_id}"
    last = st.session_state.pop(problem_key, NO_PROBLEM)
    try:
        review = None if sent["review"] is None else Review.model_validate_json(json.dumps(sent["review"]))
        gateway.store_review(job_id, review, int(sent["number"]))
    except RemoteProblem as problem:
        st.session_state[problem_key] = {"serial": last["serial"] + 1, "text": problem.detail}
    except ValidationError:
        st.session_state[problem_key] = {"serial": last["serial"] + 1, "text": INVALID_REVIEW}


def _review_data(job_id: str, result: Result) -> dict[str, Any]:
    record = gateway.review(job_id)
    return {
        "number": record.number,
        "body": None if record.review is None else record.review.model_dump(mode="json"),
        "text": _describe_review(record),
        "rejected": [_lesion_data(lesion) for lesion in result.rejected],
        "problem": st.session_state.get(f"review-problem-{job_id}"),
    }


def _describe_review(record: ReviewRecord) -> str:
    if record.reviewed_at is None:
        return "Not reviewed"
    text = messages.review_text(record.reviewed_by, record.reviewed_at)
    return text if record.review is not None else f"The model's answer is in force. {text}"


def _slice_key(job_id: str) -> str:
    return f"slice-{job_id}"


def _component_data(job_id: str, result: Result, compared_job_id: str | None) -> dict[str, Any]:
    token = sessions.current().token
    index = current_slice(job_id, result)
    names = summaries.sequences(result)
    layers, rule = ROLES if len(names) > 1 else (GREY_LAYER,), result.structures[result.structure]
    return {
        "script": module_path("mount.js"),
        "niivue": module_path("niivue.umd.js"),
        "job": job_id,
        "volumes": f"volumes/{token}/{job_id}",
        "overlays": f"overlays/{token}/{job_id}",
        "slice": index,
        "sliceCount": len(result.slices),
        "channels": list(zip(layers, names, strict=True)),
        "channel": "post" if result.structure == "core" and len(names) > 1 else GREY_LAYER,
        "maps": ["none", "probability", *(["uncertainty"] if result.uncertainty_words else [])],
        "own": "mask?reviewed=false" if result.review else None,
        "second": _second_mask(token, job_id, result, compared_job_id),
        "colors": {"lesions": LESION_COLORS, "second": SECOND_COLOR, "own": OWN_COLOR},
        "spacingMm": result.spacing_mm,
        "threshold": round(result.threshold, 2),
        "seedThreshold": round(rule.seed_threshold, 2),
        "minVoxels": rule.min_voxels,
        "structure": result.structure,
        "review": _review_data(job_id, result),
        "finding": result.finding,
        "findings": result.findings,
        "disclaimer": result.disclaimer,
        "areasPx": [one.area_px for one in result.slices],
        "lesionsBySlice": [one.lesions for one in result.slices],
        "lesions": [_lesion_data(lesion) for lesion in result.lesions],
        "jump": st.session_state.get("jump", NO_JUMP),
    }


def _second_mask(token: str, job_id: str, result: Result, compared_job_id: str | None) -> dict[str, Any] | None:
    """The mask shown in addition to that of the lesions: another model's, or the whole where the lesions are cores."""
    if compared_job_id is not None:
        volumes = f"volumes/{token}/{compared_job_id}"
        return {"volumes": volumes, "layer": "mask", "names": ["This", "Other"], "isOtherModel": True}
    if summaries.has_surroundings(result):
        return {"volumes": f"volumes/{token}/{job_id}", "layer": "whole", "names": ["Tumour", "Whole"]}
    return None


def _lesion_data(lesion: Lesion) -> dict[str, Any]:
    return {
        "number": lesion.number,
        "slice": lesion.largest_slice,
        "size": summaries.lesion_size(lesion),
        "diameters": {
            "slice": lesion.diameters.longest_slice,
            "long": lesion.diameters.long,
            "perpendicular": lesion.diameters.perpendicular,
        },
        "peak": lesion.peak,
        "target": lesion.target,
        "label": lesion.label,
        "first": lesion.box.first,
        "stop": lesion.box.stop,
    }

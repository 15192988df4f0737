"""The slices of a finished job with what the model marked in them: NiiVue in the browser, and what it has to know."""

from functools import partial
from typing import Any

import streamlit as st

from metseg.contracts import JobStatus, Lesion, Result
from metseg_ui import proxy_routes
from metseg_ui.panels import comparison
from metseg_ui.state import gateway, sessions
from metseg_ui.text import summaries

SCRIPT = """
export default async (component) => {
  const viewer = await import(new URL(component.data.script, document.baseURI));
  return viewer.mount(component);
};
"""
LAYERS = ("pre", "flair", "post")
NO_JUMP = {"slice": 0, "serial": 0}

_viewer = st.components.v2.component(
    "metseg_viewer",
    html='<div class="place"></div>',
    js=SCRIPT,
    css=(proxy_routes.ASSETS / "viewer.css").read_text(encoding="utf-8"),
)


def shown(job_id: str, result: Result) -> int:
    """The slice that is shown, counted from 0; at first the one where the largest lesion is largest."""
    first = result.lesions[0].largest_slice if result.lesions else len(result.slices) // 2
    return int(st.session_state.get(_slice_key(job_id), first))


def jump(job_id: str, index: int) -> None:
    """Show a slice, counted from 0."""
    st.session_state[_slice_key(job_id)] = index
    st.session_state["jump"] = {"slice": index, "serial": st.session_state.get("jump", NO_JUMP)["serial"] + 1}


def viewer(job_id: str, result: Result) -> None:
    """Pictures and volumes go from the page's server to the browser by themselves; here only words and numbers do."""
    key = f"viewer-{job_id}"
    _viewer(key=key, data=_told(job_id, result), on_slice_change=partial(_follow, job_id, key))


def _follow(job_id: str, key: str) -> None:
    st.session_state[_slice_key(job_id)] = int(st.session_state[key].slice)


def _slice_key(job_id: str) -> str:
    return f"slice-{job_id}"


def _told(job_id: str, result: Result) -> dict[str, Any]:
    ticket, assets = sessions.current().ticket, f"assets/{proxy_routes.edition()}"
    slice_ = shown(job_id, result)
    names = summaries.sequences(gateway.pixels(job_id, slice_))
    return {
        "script": f"{assets}/viewer.js",
        "niivue": f"{assets}/niivue.umd.js",
        "job": job_id,
        "volumes": f"volumes/{ticket}/{job_id}",
        "pictures": f"pictures/{ticket}/{job_id}",
        "slice": slice_,
        "slices": len(result.slices),
        "channels": list(zip(LAYERS if len(names) > 1 else LAYERS[1:2], names, strict=True)),
        "maps": ["none", "probability", *(["uncertainty"] if result.uncertainty_words else [])],
        "other": _other(job_id, ticket),
        "threshold": round(result.threshold, 2),
        "areas": [one.area_px for one in result.slices],
        "touching": [one.lesions for one in result.slices],
        "lesions": [_lesion(lesion) for lesion in result.lesions],
        "jump": st.session_state.get("jump", NO_JUMP),
    }


def _other(job_id: str, ticket: str) -> dict[str, str] | None:
    """The job whose mask is laid beside this one's, once it is there."""
    other = comparison.chosen(job_id)
    if other is None or gateway.job(other).status is not JobStatus.SUCCEEDED:
        return None
    return {"job": other, "volumes": f"volumes/{ticket}/{other}"}


def _lesion(lesion: Lesion) -> dict[str, Any]:
    top, right = lesion.box.first[1], lesion.box.stop[2]
    return {"number": lesion.number, "centre": [round(at) for at in lesion.centroid], "corner": [top, right]}

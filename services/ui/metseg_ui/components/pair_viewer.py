"""The viewer of a follow-up: a later scan, and an earlier one on its grid, so that their slices are linked.

The browser resamples the earlier scan through the registration; pixels never pass through Streamlit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from metseg.contracts import FollowUpResult, LesionTrack
from metseg.followup import locate_lesion, motion_between
from metseg.imaging import ROLES
from metseg_ui import proxy_routes
from metseg_ui.components.modules import MOUNT, module_path
from metseg_ui.components.viewer import LESION_COLORS, OWN_COLOR, SECOND_COLOR
from metseg_ui.state import gateway, sessions
from metseg_ui.text import summaries

MAX_COLORS = 250
"""A volume of 8 bits holds the numbers of the tracks, and a colormap some values more."""

_viewer = st.components.v2.component(
    "metseg_pair_viewer",
    html='<div class="viewer-root"></div>',
    js=MOUNT,
    css=(proxy_routes.ASSETS / "viewer.css").read_text(encoding="utf-8"),
)


class Side(NamedTuple):
    """One of the two scans.

    Attributes:
        place: of the study in the follow-up, from 0.
        title: for the reader.
        measured: what was measured of the selected lesion there; empty without one.
    """

    place: int
    title: str
    measured: str


def render(follow_up_id: str, result: FollowUpResult, prior: Side, current: Side, track: LesionTrack | None) -> None:
    """Show two scans side by side.

    Args:
        follow_up_id: of the follow-up.
        result: of the follow-up.
        prior: the earlier scan.
        current: the later one, whose slices are shown.
        track: the selected lesion, to go to; None: the middle of the scan.
    """
    studies = [result.studies[side.place] for side in (prior, current)]
    shown = gateway.result(studies[1].job_id)
    data = {
        "script": module_path("followUp.js"),
        "niivue": module_path("niivue.umd.js"),
        "pair": "/".join(f"{study.job_id}-{gateway.review(study.job_id).number}" for study in studies),
        "studies": [_study_data(result, side) for side in (prior, current)],
        "motion": motion_between(result, current.place, prior.place)[:3].tolist(),
        "channels": _channels([study.job_id for study in studies]),
        "colors": {"lesions": list(track_colors(len(result.tracks))), "second": SECOND_COLOR, "own": OWN_COLOR},
        "sliceCount": shown.shape[0],
        "spacingMm": shown.spacing_mm,
        "track": None if track is None else track.track,
        "jump": _jump(result, current.place, track),
    }
    _viewer(key=f"pair-{follow_up_id}", data=data)


def track_colors(count: int) -> Sequence[tuple[int, int, int]]:
    """The colours of the tracks, in the order of their numbers.

    Args:
        count: how many there are.

    Returns:
        Red, green and blue of each; one at least.
    """
    return [LESION_COLORS[index % len(LESION_COLORS)] for index in range(min(max(count, 1), MAX_COLORS))]


def _jump(result: FollowUpResult, place: int, track: LesionTrack | None) -> dict[str, Any]:
    """The place to go to; another serial where it is another one."""
    if track is None:
        return {"serial": 0, "mm": None, "slice": None}
    one = track.measurements[place]
    return {
        "serial": track.track,
        "mm": locate_lesion(result, place, track),
        "slice": None if one is None else one.largest_slice,
    }


def _study_data(result: FollowUpResult, side: Side) -> dict[str, Any]:
    job_id = result.studies[side.place].job_id
    tracks = {
        one.lesion: min(track.track, MAX_COLORS)
        for track in result.tracks
        if (one := track.measurements[side.place]) is not None and one.lesion is not None
    }
    record = gateway.review(job_id)
    return {
        "title": side.title,
        "measured": side.measured,
        "volumes": f"volumes/{sessions.current().token}/{job_id}",
        "joined": [] if record.review is None else record.review.model_dump(mode="json")["joined"],
        "lesions": [
            {"number": lesion.number, "peak": lesion.peak, "track": tracks[lesion.number]}
            for lesion in gateway.result(job_id).lesions
            if lesion.number in tracks
        ],
    }


def _channels(job_ids: Sequence[str]) -> list[tuple[str, str]]:
    """The sequences that both scans have, each with its name; post-contrast T1 first, which RANO-BM measures."""
    names = [summaries.sequences(gateway.result(job)) for job in job_ids]
    if any(len(each) == 1 for each in names):
        return [("post", "Scan")]  # a grey image is in all channels
    return list(zip(reversed(ROLES), reversed(names[0]), strict=True))

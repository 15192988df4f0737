"""The result of a follow-up: proposed response, a table of lesions, both scans at one of them, and a chart."""

from collections.abc import Sequence

import streamlit as st

from metseg.contracts import FollowUpResult, LesionTrack, TrackMeasurement
from metseg.followup import RESPONSE_NAMES, study_name
from metseg_ui import proxy_routes
from metseg_ui.components import pair_viewer
from metseg_ui.panels import downloads
from metseg_ui.state import gateway, sessions
from metseg_ui.text import messages

CHART_HEIGHT_PX = 260
MEASURES = {"Long diameter, mm": "long_diameter_mm", "Volume, ml": "volume_mm3"}


def render(follow_up_id: str, result: FollowUpResult) -> None:
    """Show a result.

    Args:
        follow_up_id: of a follow-up that has succeeded.
        result: of the follow-up.
    """
    dates = [study_name(place, study) for place, study in enumerate(result.studies, start=1)]
    _show_headline(dates, result)
    track = _choose_lesion(dates, result.tracks)
    _show_pair(follow_up_id, dates, result, track)
    _show_reasons(result)
    for warning in result.warnings:
        st.warning(messages.escape_markdown(warning), icon=":material/info:")
    if result.tracks:
        _show_chart(dates, result)
    _show_downloads(follow_up_id, result)
    st.caption(result.disclaimer)


def _show_downloads(follow_up_id: str, result: FollowUpResult) -> None:
    files = {"Report to print, HTML": proxy_routes.REPORT}
    if all(gateway.result(study.job_id).dicom for study in result.studies):
        files["Measurements, DICOM SR"] = proxy_routes.STRUCTURED_REPORT
    with st.container(horizontal=True, gap="small"):
        for title, name in files.items():
            url = proxy_routes.follow_up_url(sessions.current().token, follow_up_id, name)
            st.link_button(title, url, icon=downloads.DOWNLOAD)


def _show_headline(dates: Sequence[str], result: FollowUpResult) -> None:
    """The last proposal and its figures."""
    last = result.studies[-1]
    if last.response is None:
        return
    columns = st.columns(3)
    columns[0].metric(f"Proposed for {dates[-1]}", RESPONSE_NAMES[last.response.response])
    if last.target_diameter_sum_mm is not None:
        change = last.sum_change_from_nadir_percent
        delta = None if change is None else f"{change:+.0f}% from the smallest sum"
        columns[1].metric(
            "Sum of target diameters", f"{last.target_diameter_sum_mm:.1f} mm", delta, delta_color="inverse"
        )
    columns[2].metric("Volume", f"{last.volume_mm3 / 1000:.2f} ml")


def _show_reasons(result: FollowUpResult) -> None:
    """The facts behind the last proposal, and what is not known."""
    response = result.studies[-1].response
    if response is None:
        return
    st.markdown("".join(f"- {messages.escape_markdown(reason)}\n" for reason in response.reasons))
    st.caption(f"By the outlines alone. Not known: {'; '.join(response.unknown)}.")


def _choose_lesion(dates: Sequence[str], tracks: Sequence[LesionTrack]) -> LesionTrack | None:
    """The table, and the lesion that is selected in it; at first the largest one. None if there is no lesion."""
    if not tracks:
        st.info("No lesion was outlined at any date.", icon=":material/info:")
        return None
    selected = st.dataframe(
        _rows(dates, tracks),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-cell",
        key="follow-up-tracks",
        alt=f"Table of {messages.counted(len(tracks), 'lesion')} over {len(dates)} dates.",
    )
    st.caption("Click a lesion to go to it in both scans.")
    cells = selected.selection.cells
    return tracks[cells[0][0]] if cells else tracks[0]


def _rows(dates: Sequence[str], tracks: Sequence[LesionTrack]) -> list[dict[str, str]]:
    """A row for each lesion."""
    rows = []
    for track in tracks:
        cells = {"Lesion": track_name(track)}
        for day, one in zip(dates, track.measurements, strict=True):
            cells[day] = cell(one)
        last = next((one for one in reversed(track.measurements) if one is not None), None)
        change = None if last is None else last.volume_change_mm3
        cells["Change, ml"] = "" if change is None else f"{change / 1000:+.2f}"
        percent = None if last is None else last.volume_change_percent
        cells["Change, %"] = "" if percent is None else f"{percent:+.0f}"
        rows.append(cells)
    return rows


def track_name(track: LesionTrack) -> str:
    """What a lesion is called in a follow-up."""
    label = f" {track.label}" if track.label else ""
    return f"{track.track}{label}{' (target)' if track.target else ''}"


def cell(one: TrackMeasurement | None) -> str:
    """A lesion at one date in a few words; empty before it appears."""
    if one is None:
        return ""
    size = "" if one.lesion is None else f"{one.long_diameter_mm or 0:.1f} mm, {(one.volume_mm3 or 0) / 1000:.2f} ml"
    return " ".join(part for part in (size, one.state) if part)


def _show_pair(follow_up_id: str, dates: Sequence[str], result: FollowUpResult, track: LesionTrack | None) -> None:
    """Two scans at the lesion: the last two, unless the reader chooses others."""
    places = list(range(len(dates)))
    prior, current = len(dates) - 2, len(dates) - 1
    if len(dates) > 2:
        left, right = st.columns(2)
        current = right.selectbox("Current", places[1:], len(dates) - 2, format_func=dates.__getitem__)
        prior = left.selectbox("Prior", places[:current], current - 1, format_func=dates.__getitem__)
    pair_viewer.render(
        follow_up_id,
        result,
        _side(dates, prior, "prior, registered", track),
        _side(dates, current, "current", track),
        track,
    )


def _side(dates: Sequence[str], place: int, name: str, track: LesionTrack | None) -> pair_viewer.Side:
    measured = "" if track is None else cell(track.measurements[place])
    return pair_viewer.Side(place, f"{dates[place]} ({name})", measured)


def _show_chart(dates: Sequence[str], result: FollowUpResult) -> None:
    """Each lesion over time, in the colour of its outline; an isolated date is a point."""
    measure = st.radio("Chart of", list(MEASURES), horizontal=True, key="follow-up-measure")
    is_dated = all(study.taken_on is not None for study in result.studies)
    field, scale = MEASURES[measure], 1000 if measure.startswith("Volume") else 1
    points = [
        {"Date": day, "Lesion": str(track.track), measure: round(value / scale, 2)}
        for track in result.tracks
        for day, one in zip(dates, track.measurements, strict=True)
        if one is not None and (value := getattr(one, field)) is not None
    ]
    names = [str(track.track) for track in result.tracks]
    colors = [f"rgb{color}" for color in pair_viewer.track_colors(len(names))]
    date_type = {"type": "temporal"} if is_dated else {"type": "nominal", "sort": list(dates)}
    st.vega_lite_chart(
        {
            "data": {"values": points},
            "height": CHART_HEIGHT_PX,
            "mark": {"type": "line", "point": {"size": 60, "filled": True}, "tooltip": True},
            "encoding": {
                "x": {"field": "Date", "title": None, **date_type},
                "y": {"field": measure, "type": "quantitative"},
                "color": {
                    "field": "Lesion",
                    "type": "nominal",
                    "sort": names,
                    "scale": {"domain": names[: len(colors)], "range": colors},
                },
            },
        },
        width="stretch",
    )

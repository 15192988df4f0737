"""Two or more scans of a patient, lesion by lesion: figures at each date, a chart, and both scans at one lesion."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import FollowedStudy, FollowUpResult, Grid, Job, JobStatus, LesionTrack, TrackMeasurement
from metseg.imaging import canonical_affine
from metseg_ui.components import problems
from metseg_ui.state import gateway, url_state
from metseg_ui.text import messages

POLL_S = 1.0
MIN_SCANS = 2
SESSION_KEY = "follow_up"
RESPONSES = {
    "complete": "Complete response",
    "partial": "Partial response",
    "stable": "Stable disease",
    "progressive": "Progressive disease",
    None: "Not assessable",
}


def is_available() -> bool:
    """Whether the reader has opened scans to compare."""
    return len(url_state.job_ids()) >= MIN_SCANS


def render() -> None:
    """Let the reader choose scans, wait for their comparison, and show it."""
    st.markdown("## Follow-up")
    finished = [job for job in gateway.existing_jobs(url_state.job_ids()) if job.status is JobStatus.SUCCEEDED]
    if len(finished) < MIN_SCANS:
        st.info("Open two or more finished scans of one patient to compare them.", icon=":material/info:")
        return
    by_id = {job.id: job for job in sorted(finished, key=_order)}
    # Streamlit identifies options by their names, and two scans may have the same one.
    names = {job_id: f"{place}. {_name(job)}" for place, (job_id, job) in enumerate(by_id.items(), start=1)}
    chosen = st.multiselect(
        "Scans of one patient, oldest first",
        list(by_id),
        default=list(by_id),
        format_func=names.__getitem__,
        help="The first scan is the baseline. Scans with a date are in its order.",
    )
    if st.button("Compare", type="primary", disabled=len(chosen) < MIN_SCANS):
        _submit(chosen)
    follow_up_id = st.session_state.get(SESSION_KEY)
    if follow_up_id is not None:
        _render(follow_up_id)


def _order(job: Job) -> tuple[date, str]:
    return job.taken_on or job.created_at.date(), job.id


def _name(job: Job) -> str:
    return f"{job.taken_on}: {messages.display_name(job)}" if job.taken_on else messages.display_name(job)


def _submit(chosen: Sequence[str]) -> None:
    st.session_state.pop(SESSION_KEY, None)
    try:
        st.session_state[SESSION_KEY] = gateway.client().submit_follow_up(chosen).id
    except RemoteProblem as problem:
        problems.show(problem)


def _render(follow_up_id: str) -> None:
    found = gateway.client().follow_up(follow_up_id)
    if found.result is not None:
        _show(found.jobs, found.result)
    elif found.status.final:
        st.error(found.problem.detail if found.problem else "The comparison was cancelled.")
    else:
        _wait(follow_up_id)


def _wait(follow_up_id: str) -> None:
    @st.fragment(run_every=POLL_S)
    def poll() -> None:
        latest = gateway.client().follow_up(follow_up_id)
        st.caption(f":material/progress_activity: Comparing the scans: {latest.status}")
        if latest.status.final:
            st.rerun()

    poll()


def _show(jobs: Sequence[str], result: FollowUpResult) -> None:
    dates = [_date(place, study) for place, study in enumerate(result.studies, start=1)]
    _show_response(dates, result)
    st.markdown("#### Lesions")
    selected = st.dataframe(
        _table(dates, result.tracks),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="follow-up-tracks",
    )
    rows = selected.selection.rows
    track = result.tracks[rows[0]] if rows else None
    if track is not None:
        _show_track(jobs, dates, result, track)
    elif result.tracks:
        st.caption("Select a lesion to see it in both scans.")
    st.line_chart(_diameters(dates, result.tracks), x="Study", y_label="Long diameter, mm")
    for warning in result.warnings:
        st.warning(warning)


def _show_response(dates: Sequence[str], result: FollowUpResult) -> None:
    """The last proposal, with the facts and what is not known."""
    last = result.studies[-1]
    if last.response is None:
        return
    columns = st.columns(3)
    columns[0].metric(f"Proposed for {dates[-1]}", RESPONSES[last.response.response])
    if last.target_diameter_sum_mm is not None:
        change = last.sum_change_from_nadir_percent
        delta = None if change is None else f"{change:+.0f}% from the smallest sum"
        columns[1].metric(
            "Sum of target diameters", f"{last.target_diameter_sum_mm:.1f} mm", delta, delta_color="inverse"
        )
    columns[2].metric("Volume", f"{last.volume_mm3 / 1000:.2f} ml")
    st.markdown("".join(f"- {messages.escape_markdown(reason)}\n" for reason in last.response.reasons))
    st.caption(f"By the outlines alone. Not known: {'; '.join(last.response.unknown)}.")


def _table(dates: Sequence[str], tracks: Sequence[LesionTrack]) -> list[dict[str, str]]:
    """A row for each lesion."""
    rows = []
    for track in tracks:
        cells = {"Lesion": f"{track.track}" + (" (target)" if track.target else "")}
        for day, one in zip(dates, track.measurements, strict=True):
            cells[day] = _cell(one)
        last = next((one for one in reversed(track.measurements) if one is not None), None)
        change = None if last is None else last.volume_change_mm3
        cells["Change, ml"] = "" if change is None else f"{change / 1000:+.2f}"
        percent = None if last is None else last.volume_change_percent
        cells["Change, %"] = "" if percent is None else f"{percent:+.0f}"
        rows.append(cells)
    return rows


def _cell(one: TrackMeasurement | None) -> str:
    if one is None:
        return ""
    size = "" if one.lesion is None else f"{one.long_diameter_mm or 0:.1f} mm, {(one.volume_mm3 or 0) / 1000:.2f} ml"
    return " ".join(part for part in (size, one.state) if part)


def _diameters(dates: Sequence[str], tracks: Sequence[LesionTrack]) -> dict[str, list[str | float | None]]:
    """Long diameters by study, a column for each lesion."""
    columns: dict[str, list[str | float | None]] = {
        f"lesion {track.track}": [None if one is None else one.long_diameter_mm for one in track.measurements]
        for track in tracks
    }
    return {"Study": list(dates), **columns}


def _show_track(jobs: Sequence[str], dates: Sequence[str], result: FollowUpResult, track: LesionTrack) -> None:
    """The lesion in the last two scans, side by side."""
    for column, place in zip(st.columns(2), (len(jobs) - 2, len(jobs) - 1), strict=True):
        index = _slice_of(jobs, result, track, place)
        if index is None:
            column.info(f"{dates[place]}: the place of this lesion is not in the scan.")
            continue
        caption = f"{dates[place]}, slice {index + 1}: {_cell(track.measurements[place]) or 'no outline'}"
        column.image(gateway.client().overlay(jobs[place], index), caption, width="stretch")


def _slice_of(jobs: Sequence[str], result: FollowUpResult, track: LesionTrack, place: int) -> int | None:
    """The slice of a scan that shows the lesion, or where it would be."""
    one = track.measurements[place]
    if one is not None and one.largest_slice is not None:
        return one.largest_slice
    seen = next(
        (index, other.centroid_mm)
        for index, other in enumerate(track.measurements)
        if other is not None and other.centroid_mm is not None
    )
    grid = gateway.result(jobs[place]).grid
    if grid is None or grid.affine is None:
        return None
    there = _from_first(result.studies[place]) @ np.linalg.inv(_from_first(result.studies[seen[0]])) @ [*seen[1], 1]
    return _nearest_slice(grid, there)


def _nearest_slice(grid: Grid, point_mm: np.ndarray) -> int | None:
    """The slice nearest to a point, (4,) in RAS+ millimetres; None outside of the scan."""
    index = round(float((np.linalg.inv(canonical_affine(grid, np.array(grid.affine))) @ point_mm)[2]))
    return index if 0 <= index < grid.shape[grid.axes[0]] else None


def _from_first(study: FollowedStudy) -> np.ndarray:
    return np.eye(4) if study.registration is None else np.array(study.registration.from_first)


def _date(place: int, study: FollowedStudy) -> str:
    return f"study {place}" if study.taken_on is None else study.taken_on.isoformat()

"""The reader's jobs: their list in the sidebar, the progress of one, and its deletion."""

from collections.abc import Mapping
from itertools import count

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Job, JobStatus
from metseg_ui.state import gateway, url_state
from metseg_ui.state.gateway import JobState
from metseg_ui.text import messages

POLL_S = 1.0
ICONS = {
    JobStatus.QUEUED: ":material/hourglass_empty:",
    JobStatus.RUNNING: ":material/progress_activity:",
    JobStatus.SUCCEEDED: ":material/check_circle:",
    JobStatus.FAILED: ":material/error:",
    JobStatus.CANCELLED: ":material/cancel:",
}


def render_list(states: Mapping[str, JobState]) -> None:
    """The list of jobs; it polls the gateway every second until all of them are final.

    Args:
        states: of the jobs, as the rest of the page shows them; it is drawn again when one of them ends.
    """
    runs = count()

    @st.fragment(run_every=None if all(map(_is_final, states.values())) else POLL_S)
    def draw() -> None:
        latest = gateway.job_states(list(states)) if next(runs) else states
        _list(latest)
        if any(_is_final(latest[job_id]) and not _is_final(state) for job_id, state in states.items()):
            st.rerun()  # its result can be shown, and the polling may stop

    draw()


def render_progress(job: Job) -> None:
    """The progress of a job, refreshed every second until `render_list` sees that the job is final."""
    runs = count()

    @st.fragment(run_every=POLL_S)
    def draw() -> None:
        _progress(job, is_current=next(runs) == 0)

    draw()


def confirm_deletion(job: Job) -> None:
    """The button that deletes a job, below what that means."""
    st.markdown("Deletes the upload and its results from the server. This cannot be undone.")
    if st.button("Delete permanently", type="primary", key=f"delete-{job.id}"):
        gateway.delete(job.id)
        url_state.remove(job.id)
        st.rerun()


def _is_final(state: JobState) -> bool:
    return gateway.is_not_found(state) if isinstance(state, RemoteProblem) else state.status.final


def _list(states: Mapping[str, JobState]) -> None:
    selected = url_state.selected()
    for job_id, state in states.items():
        clicked = st.button(
            f"{_name(state)}  \n:small[{_status_text(state)}]",
            key=f"job-{job_id}",
            icon=ICONS[state.status] if isinstance(state, Job) else ":material/help:",
            type="secondary" if job_id == selected else "tertiary",
            width="stretch",
            on_click=url_state.select,
            args=(job_id,),
        )
        if clicked:
            st.rerun()  # the click reran this fragment only, and the selected scan is drawn outside it


def _name(state: JobState) -> str:
    if isinstance(state, Job):
        return messages.display_name(state)
    return "Scan"


def _status_text(state: JobState) -> str:
    if isinstance(state, RemoteProblem):
        return "No longer available" if gateway.is_not_found(state) else "Status unknown"
    return messages.status_text(state)


def _progress(job: Job, *, is_current: bool) -> None:
    preview = None
    try:
        job = job if is_current else gateway.job(job.id)
        preview = gateway.preview(job.id) if job.status is JobStatus.RUNNING else None
    except RemoteProblem as problem:
        st.warning(f"{messages.problem_text(problem)} Retrying …", icon=":material/cloud_off:")
    fraction = job.progress.done / job.progress.total if job.progress else 0.0
    st.progress(fraction, f"**{messages.status_text(job)}**")
    st.caption(
        "Scans are processed in order. You may close this page; its URL brings you back to this scan."
        if job.status is JobStatus.QUEUED
        else "The network processes one slice at a time."
    )
    if preview is not None:
        st.image(
            preview,
            width="stretch",
            caption="The latest slice, and the slices so far in order. Of a long scan, only some are shown. "
            "Areas smaller than the model's smallest lesion are outlined here, but are not part of the result.",
            alt="The latest slice and the slices before it, with the lesions found so far",
        )

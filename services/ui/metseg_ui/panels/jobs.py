"""The reader's jobs: their list in the sidebar, the progress of one, and its deletion."""

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Job, JobStatus
from metseg_ui.state import gateway, url_state
from metseg_ui.text import messages

POLL_S = 1.0
ICONS = {
    JobStatus.QUEUED: ":material/hourglass_empty:",
    JobStatus.RUNNING: ":material/progress_activity:",
    JobStatus.SUCCEEDED: ":material/check_circle:",
    JobStatus.FAILED: ":material/error:",
    JobStatus.CANCELLED: ":material/cancel:",
}


def render_list() -> None:
    """The list of jobs; it polls the gateway every second until all of them are final."""
    job_ids = url_state.job_ids()
    pending = not all(_is_final(_fetch(job_id)) for job_id in job_ids)
    st.fragment(_list, run_every=POLL_S if pending else None)(job_ids, pending)


def render_progress(job: Job) -> None:
    """The progress of a job, refreshed every second until `render_list` sees that the job is final."""
    st.fragment(_progress, run_every=POLL_S)(job)


def confirm_deletion(job: Job) -> None:
    """The button that deletes a job, below what that means."""
    st.markdown("Deletes the upload and its results from the server. This cannot be undone.")
    if st.button("Delete permanently", type="primary", key=f"delete-{job.id}"):
        gateway.delete(job.id)
        url_state.remove(job.id)
        st.rerun()


def _fetch(job_id: str) -> Job | RemoteProblem:
    """The state of a job, or why it is unknown."""
    try:
        return gateway.job(job_id)
    except RemoteProblem as problem:
        return problem


def _is_final(state: Job | RemoteProblem) -> bool:
    return gateway.is_not_found(state) if isinstance(state, RemoteProblem) else state.status.final


def _list(job_ids: list[str], pending: bool) -> None:
    selected = url_state.selected()
    states = {job_id: _fetch(job_id) for job_id in job_ids}
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
    _rerun_when_one_finishes(states, pending)


def _name(state: Job | RemoteProblem) -> str:
    if isinstance(state, Job):
        return messages.display_name(state)
    return "Scan"


def _status_text(state: Job | RemoteProblem) -> str:
    if isinstance(state, RemoteProblem):
        return "No longer available" if gateway.is_not_found(state) else "Status unknown"
    return messages.status_text(state)


def _rerun_when_one_finishes(states: dict[str, Job | RemoteProblem], pending: bool) -> None:
    """Draw the whole page when a job ends: its result can be shown, and the polling may stop."""
    final = {job_id for job_id, state in states.items() if _is_final(state)}
    before: set[str] | None = st.session_state.get("final_ids")
    st.session_state["final_ids"] = final
    if pending and before is not None and final - before:
        st.rerun()


def _progress(job: Job) -> None:
    preview = None
    try:
        job = gateway.job(job.id)
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

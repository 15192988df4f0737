"""The reader's jobs: where each of them stands, live until it is final."""

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


def known(job_id: str) -> Job | RemoteProblem:
    """The state of a job, or why it cannot be told."""
    try:
        return gateway.job(job_id)
    except RemoteProblem as problem:
        return problem


def settled(state: Job | RemoteProblem) -> bool:
    """Whether asking again would tell nothing new."""
    return messages.gone(state) if isinstance(state, RemoteProblem) else state.status.final


def jobs() -> None:
    """The list of jobs; asks the gateway each second while one of them is under way, then rests."""
    ids = url_state.jobs()
    states = {job_id: known(job_id) for job_id in ids}
    waiting = not all(map(settled, states.values()))
    st.fragment(_list, run_every=POLL_S if waiting else None)(ids, waiting)


def _list(ids: list[str], waited: bool) -> None:
    shown = url_state.shown()
    states = {job_id: known(job_id) for job_id in ids}
    for job_id, state in states.items():
        picked = st.button(
            f"{_name(job_id, state)}  \n:small[{_standing(state)}]",
            key=f"job-{job_id}",
            icon=ICONS[state.status] if isinstance(state, Job) else ":material/help:",
            type="secondary" if job_id == shown else "tertiary",
            width="stretch",
            on_click=url_state.show,
            args=(job_id,),
        )
        if picked:
            st.rerun()  # a click in a fragment draws the fragment alone, and the picked scan stands outside it
    _tell_the_page(states, waited)


def _name(job_id: str, state: Job | RemoteProblem) -> str:
    return messages.name(state) if isinstance(state, Job) else messages.plain(url_state.name(job_id) or "Scan")


def _standing(state: Job | RemoteProblem) -> str:
    if isinstance(state, RemoteProblem):
        return "Not there any more" if messages.gone(state) else "Not known just now"
    return messages.state(state)


def _tell_the_page(states: dict[str, Job | RemoteProblem], waited: bool) -> None:
    """Draw the whole page anew when a job ends: its result can be shown, and the asking may stop."""
    ended = {job_id for job_id, state in states.items() if settled(state)}
    before: set[str] | None = st.session_state.get("ended")
    st.session_state["ended"] = ended
    if waited and before is not None and ended - before:
        st.rerun()


def progress(job: Job) -> None:
    """How far a job is, drawn anew each second until the list of jobs tells that it ended."""
    st.fragment(_progress, run_every=POLL_S)(job)


def _progress(job: Job) -> None:
    picture = None
    try:
        job = gateway.job(job.id)
        picture = gateway.glimpse(job.id) if job.status is JobStatus.RUNNING else None
    except RemoteProblem as problem:
        st.warning(f"**{problem.title}.** {problem.detail} Asking again …", icon=":material/cloud_off:")
    share = job.progress.done / job.progress.total if job.progress else 0.0
    st.progress(share, f"**{messages.state(job)}**")
    st.caption(
        "A worker takes the scans one after another. You may close this page: its address brings you back here."
        if job.status is JobStatus.QUEUED
        else "The network looks at one slice at a time."
    )
    if picture is not None:
        st.image(
            picture,
            width="stretch",
            caption="The latest slice, and the slices so far, in order; of many slices the small pictures show some.",
            alt="The latest slice and those before it, with what is marked so far",
        )

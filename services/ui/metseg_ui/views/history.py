"""All scans of one's key: where they stand, what was found, and the way back to each of them."""

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Holder, Job, JobStatus
from metseg.settings import settings
from metseg_ui.panels import jobs as jobs_panel
from metseg_ui.state import gateway, sessions, url_state
from metseg_ui.text import messages, summaries

WIDTHS = (3, 1.4, 2.2, 2.3, 0.9, 1)


def told(holder: Holder) -> bool:
    """Whether the gateway's list is one reader's own: not where all visitors share the page's key."""
    return holder.name is None or sessions.current().own or not settings().api_key.get_secret_value()


def table() -> None:
    """The list, a page at a time."""
    st.markdown("## Your scans")
    cursors: list[str | None] = st.session_state.setdefault("history_pages", [None])
    jobs, following = gateway.history(cursors[-1])
    if not jobs:
        st.info("Nothing here yet. Upload a scan, or take an example.", icon=":material/info:")
    with st.container(key="history", gap="small"):
        for job in jobs:
            _row(job)
    with st.container(horizontal=True):
        if len(cursors) > 1 and st.button("Newer"):
            cursors.pop()
            st.rerun()
        if following and st.button("Older"):
            cursors.append(following)
            st.rerun()


def _row(job: Job) -> None:
    columns = st.columns(WIDTHS, vertical_alignment="center")
    columns[0].markdown(f"**{messages.name(job)}**  \n:small[{messages.clock(job.created_at)}]")
    columns[1].markdown(f"{jobs_panel.ICONS[job.status]} {messages.state(job)}")
    columns[2].markdown(_found(job))
    columns[3].markdown(f"`{job.model_version}`" if job.model_version else "–")
    if columns[4].button(
        ":material/open_in_new:", key=f"open-{job.id}", help=f"Open {messages.name(job)}", type="tertiary"
    ):
        url_state.add(job.id, url_state.name(job.id))
        st.rerun()
    with columns[5].popover(":material/delete:", help=f"Remove {messages.name(job)}", type="tertiary"):
        removal(job)


def removal(job: Job) -> None:
    """The second word before a job is deleted."""
    st.markdown("Deletes the upload and its results from the server. This cannot be undone.")
    if st.button("Delete for good", type="primary", key=f"delete-{job.id}"):
        gateway.delete(job.id)
        url_state.forget(job.id)
        st.rerun()


def _found(job: Job) -> str:
    if job.status is not JobStatus.SUCCEEDED:
        return messages.plain(job.problem.title) if job.problem else "–"
    try:
        found = gateway.result(job.id)
    except RemoteProblem as problem:
        return messages.plain(problem.title)
    return " · ".join(f"{value} {label.lower()}" for label, value in summaries.headline(found)[:2])

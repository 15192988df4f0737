"""The scans of one API key, or all for an admin: their state, what was found, and a link to each.

Without API keys nobody has a name, so the reader's own scans are those of the session, which its URL lists.
"""

from collections.abc import Sequence

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Job, JobStatus, KeyInfo
from metseg.settings import settings
from metseg_ui.panels import jobs
from metseg_ui.state import gateway, sessions, url_state
from metseg_ui.text import messages, summaries

EVERYONE_HELP = "This deployment has no API keys, so your scans are those that this tab has opened."
COLUMN_WIDTHS = (3, 1.4, 2.2, 2.3, 0.9, 1)


def is_available(key_info: KeyInfo) -> bool:
    """Whether the gateway's list belongs to one reader; it does not where all visitors share the page's key."""
    return key_info.name is None or sessions.current().signed_in or not settings().api_key.get_secret_value()


def render(key_info: KeyInfo) -> None:
    """The list, one page at a time."""
    st.markdown(f"## {title(key_info)}")
    if key_info.name is None:
        if not st.toggle("Show the scans of everyone", key="everyone", help=EVERYONE_HELP):
            _render_rows(gateway.existing_jobs(url_state.job_ids()))
            return
    elif _sees_all(key_info):
        st.caption("The scans of everyone who uses this deployment, because you may administer it.")
    cursors: list[str | None] = st.session_state.setdefault("history_cursors", [None])
    listed, next_cursor = gateway.history(cursors[-1])
    _render_rows(listed)
    with st.container(horizontal=True):
        if len(cursors) > 1 and st.button("Newer"):
            cursors.pop()
            st.rerun()
        if next_cursor and st.button("Older"):
            cursors.append(next_cursor)
            st.rerun()


def _render_rows(listed: Sequence[Job]) -> None:
    if not listed:
        st.info("No scans yet. Upload one, or try an example.", icon=":material/info:")
    with st.container(key="history", gap="small"):
        for job in listed:
            _row(job)


def title(key_info: KeyInfo) -> str:
    """What the list is called: the gateway lists an admin the scans of all keys."""
    return "All scans" if _sees_all(key_info) else "Your scans"


def _sees_all(key_info: KeyInfo) -> bool:
    return key_info.name is not None and key_info.is_admin


def _row(job: Job) -> None:
    name = messages.display_name(job)
    columns = st.columns(COLUMN_WIDTHS, vertical_alignment="center")
    submitted = f"  \n:small[{messages.local_time(job.created_at)}]" if job.label else ""
    columns[0].markdown(f"**{name}**{submitted}")
    columns[1].markdown(f"{jobs.ICONS[job.status]} {messages.status_text(job)}")
    columns[2].markdown(_outcome(job))
    columns[3].markdown(f"`{job.model_version}`" if job.model_version else "–")
    if columns[4].button(":material/open_in_new:", key=f"open-{job.id}", help=f"Open {name}", type="tertiary"):
        url_state.add(job.id)
        st.rerun()
    with columns[5].popover(":material/delete:", help=f"Delete {name}", type="tertiary"):
        jobs.confirm_deletion(job)


def _outcome(job: Job) -> str:
    if job.status is not JobStatus.SUCCEEDED:
        return messages.escape_markdown(job.problem.title) if job.problem else "–"
    try:
        return summaries.one_line(gateway.result(job.id))
    except RemoteProblem as problem:
        return messages.escape_markdown(problem.title)

"""The scans of one API key: their state, what was found, and a link to each. An admin may ask for those of all keys.

Without API keys nobody has a name, so the reader's own scans are those of the session, which its URL lists.
"""

from collections.abc import Mapping, Sequence

import streamlit as st

from metseg.contracts import KeyInfo, ListedJob
from metseg.settings import settings
from metseg_ui.panels import jobs
from metseg_ui.state import gateway, sessions, url_state
from metseg_ui.state.gateway import JobState
from metseg_ui.text import messages, summaries

TITLE = "Your scans"
EVERYONE_HELP = "This deployment has no API keys, so your scans are those that this tab has opened."
ADMIN_HELP = "The scans of all API keys, because you may administer this deployment."
COLUMN_WIDTHS = (3, 1.4, 2.2, 2.3, 0.9, 1)


def is_available(key_info: KeyInfo) -> bool:
    """Whether the gateway's list belongs to one reader; it does not where all visitors share the page's key."""
    return key_info.name is None or sessions.current().signed_in or not settings().api_key.get_secret_value()


def render(key_info: KeyInfo, states: Mapping[str, JobState]) -> None:
    """The list, one page at a time.

    Args:
        key_info: of the reader.
        states: of the jobs in the URL.
    """
    st.markdown(f"## {TITLE}")
    has_name, everyone = key_info.name is not None, False
    if key_info.is_admin:
        help_text = ADMIN_HELP if has_name else EVERYONE_HELP
        everyone = st.toggle("Show the scans of everyone", key="everyone", help=help_text, on_change=_first_page)
    if not has_name and not everyone:
        _render_rows(gateway.existing_jobs(states))
        return
    cursors: list[str | None] = st.session_state.setdefault("history_cursors", [None])
    listed, next_cursor = gateway.history(cursors[-1], everyone=everyone)
    _render_rows(listed)
    with st.container(horizontal=True):
        if len(cursors) > 1 and st.button("Newer"):
            cursors.pop()
            st.rerun()
        if next_cursor and st.button("Older"):
            cursors.append(next_cursor)
            st.rerun()


def _first_page() -> None:
    st.session_state.pop("history_cursors", None)


def _render_rows(listed: Sequence[ListedJob]) -> None:
    if not listed:
        st.info("No scans yet. Upload one, or try an example.", icon=":material/info:")
    with st.container(key="history", gap="small"):
        for job in listed:
            _row(job)


def _row(job: ListedJob) -> None:
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


def _outcome(job: ListedJob) -> str:
    if job.summary is None:
        return messages.escape_markdown(job.problem.title) if job.problem else "–"
    return f"{summaries.one_line(job.summary)}{', reviewed' if job.summary.reviewed else ''}"

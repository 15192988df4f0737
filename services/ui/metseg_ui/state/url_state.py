"""The page's URL lists the reader's jobs, so that nothing is lost by a reload and a bookmark works.

It holds job ids only: a file name may identify a patient, so the label of a scan is read from its job.
"""

import streamlit as st

from metseg.contracts import is_follow_up_id, is_job_id

MAX_JOBS = 40
SCAN, HISTORY, FOLLOW_UP, ADMIN = "scan", "history", "follow-up", "admin"


def job_ids() -> list[str]:
    """The job ids in the URL, newest first; anything that is not an id is ignored."""
    ids = dict.fromkeys(job_id for job_id in st.query_params.get_all("job") if is_job_id(job_id))
    return list(ids)[:MAX_JOBS]


def selected() -> str | None:
    """The job that is shown: the one that the reader selected, else the newest."""
    listed = job_ids()
    chosen = st.query_params.get("show")
    return chosen if chosen in listed else next(iter(listed), None)


def select(job_id: str) -> None:
    """Show a job."""
    _open(job_ids(), job_id, SCAN)


def add(job_id: str) -> None:
    """Put a job at the top of the list and show it."""
    listed = [job_id, *(other for other in job_ids() if other != job_id)][:MAX_JOBS]
    _open(listed, job_id, SCAN)


def remove(job_id: str) -> None:
    """Drop a job from the list."""
    shown = st.query_params.get("show")
    _open([other for other in job_ids() if other != job_id], None if shown == job_id else shown, current_view())


def current_view() -> str:
    """The view that is open: `SCAN`, `HISTORY`, `FOLLOW_UP` or `ADMIN`."""
    view = st.query_params.get("view", SCAN)
    return view if view in (HISTORY, FOLLOW_UP, ADMIN) else SCAN


def open_view(view: str) -> None:
    """Open a view."""
    _open(job_ids(), st.query_params.get("show"), view)


def follow_up() -> str | None:
    """The follow-up that is shown; None if there is none."""
    chosen = st.query_params.get("follow-up", "")
    return chosen if is_follow_up_id(chosen) else None


def open_follow_up(follow_up_id: str) -> None:
    """Show a follow-up."""
    _open(job_ids(), st.query_params.get("show"), FOLLOW_UP, follow_up_id)


def _open(listed: list[str], shown: str | None, view: str, follow_up_id: str | None = None) -> None:
    """Change the URL once: each change is an entry in the browser's history."""
    parameters: dict[str, str | list[str]] = {"job": listed}
    if shown is not None:
        parameters["show"] = shown
    if follow_up_id := follow_up_id or follow_up():
        parameters["follow-up"] = follow_up_id
    if view != SCAN:
        parameters["view"] = view
    st.query_params.from_dict(parameters)

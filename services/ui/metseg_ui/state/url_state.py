"""The page's URL lists the reader's jobs, so that nothing is lost by a reload and a bookmark works.

It holds job ids only: a file name may identify a patient, so the label of a scan is read from its job.
"""

import streamlit as st

from metseg.contracts import is_job_id

MAX_JOBS = 40
SCAN, HISTORY, ADMIN = "scan", "history", "admin"


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
    open_view(SCAN)
    st.query_params["show"] = job_id


def add(job_id: str) -> None:
    """Put a job at the top of the list and show it."""
    st.query_params["job"] = [job_id, *(other for other in job_ids() if other != job_id)][:MAX_JOBS]
    select(job_id)


def remove(job_id: str) -> None:
    """Drop a job from the list."""
    st.query_params["job"] = [other for other in job_ids() if other != job_id]
    if st.query_params.get("show") == job_id:
        del st.query_params["show"]


def current_view() -> str:
    """The view that is open: `SCAN`, `HISTORY` or `ADMIN`."""
    view = st.query_params.get("view", SCAN)
    return view if view in (HISTORY, ADMIN) else SCAN


def open_view(view: str) -> None:
    """Open a view."""
    if view == SCAN:
        st.query_params.pop("view", None)
    else:
        st.query_params["view"] = view

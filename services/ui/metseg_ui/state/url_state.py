"""The page's address holds the reader's jobs, so that a reload or a bookmark loses nothing.

It holds ids alone: what a file was called may name a patient, so names stay in the session's memory.
"""

import re

import streamlit as st

MOST_JOBS = 40
SCAN, HISTORY, ADMIN = "scan", "history", "admin"
JOB_ID = re.compile(r"[0-9A-Za-z-]{8,64}")


def jobs() -> list[str]:
    """The ids in the address, newest first, without what cannot be one."""
    ids = dict.fromkeys(job_id for job_id in st.query_params.get_all("job") if JOB_ID.fullmatch(job_id))
    return list(ids)[:MOST_JOBS]


def shown() -> str | None:
    """The job that the reader looks at: the one that was picked, else the newest."""
    listed = jobs()
    picked = st.query_params.get("show")
    return picked if picked in listed else next(iter(listed), None)


def show(job_id: str) -> None:
    """Look at a job."""
    see(SCAN)
    st.query_params["show"] = job_id


def add(job_id: str, name: str | None) -> None:
    """List a job first and look at it."""
    see(SCAN)
    st.query_params["job"] = [job_id, *(other for other in jobs() if other != job_id)][:MOST_JOBS]
    if name is not None:
        st.session_state.setdefault("names", {})[job_id] = name
    show(job_id)


def forget(job_id: str) -> None:
    """Drop a job from the list."""
    st.query_params["job"] = [other for other in jobs() if other != job_id]
    if st.query_params.get("show") == job_id:
        del st.query_params["show"]


def name(job_id: str) -> str | None:
    """What the reader called it; None outside the session that uploaded it."""
    names: dict[str, str] = st.session_state.get("names", {})
    return names.get(job_id)


def view() -> str:
    """Which of the page's views is open."""
    asked = st.query_params.get("view", SCAN)
    return asked if asked in (HISTORY, ADMIN) else SCAN


def see(view: str) -> None:
    """Open a view."""
    if view == SCAN:
        st.query_params.pop("view", None)
    else:
        st.query_params["view"] = view

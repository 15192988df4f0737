"""What the page asks of the gateway, kept as long as it cannot change, and for each key apart."""

import io

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from metseg.client import Attachment, Client, RemoteProblem
from metseg.contracts import Holder, Job, ModelPage, Overview, Result
from metseg.errors import NotFound, Unauthorised
from metseg_ui.state import sessions

MOST_LISTED = 50


def client() -> Client:
    """The client of this visit."""
    return sessions.current().reader


def submit(
    files: list[Attachment], threshold: float | None, key: str, *, uncertainty: bool = False, align: bool = True
) -> Job:
    """Submit one study; the same key never makes two jobs of it."""
    return sessions.current().sender.submit(
        files,
        threshold=threshold,
        idempotency_key=key,
        align="rigid" if align else "none",
        uncertainty=uncertainty,
    )


def models() -> ModelPage:
    """The registry, at most a quarter of a minute old."""
    visit = sessions.current()
    return _models(visit.who, visit.reader)


@st.cache_data(ttl=15, max_entries=16, show_spinner=False)
def _models(who: str, _reader: Client) -> ModelPage:
    return _reader.models()


def me() -> Holder:
    """Whose key this is and what it may do, at most a minute old."""
    visit = sessions.current()
    return _me(visit.who, visit.reader)


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def _me(who: str, _reader: Client) -> Holder:
    return _reader.me()


def result(job_id: str) -> Result:
    """The result of a job that succeeded: it never changes."""
    visit = sessions.current()
    return _result(visit.who, job_id, visit.reader)


@st.cache_resource(max_entries=64, show_spinner=False)
def _result(who: str, job_id: str, _reader: Client) -> Result:
    return _reader.result(job_id)


def pixels(job_id: str, index: int) -> npt.NDArray[np.uint8]:
    """A slice for display, (row, column, channel)."""
    visit = sessions.current()
    stored = _slice(visit.who, job_id, index, visit.reader)
    return np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))


@st.cache_resource(max_entries=64, show_spinner=False)
def _slice(who: str, job_id: str, index: int, _reader: Client) -> bytes:
    return _reader.slice(job_id, index)


def job(job_id: str) -> Job:
    """The state of a job; asked again until it is final, then remembered in this session."""
    seen: dict[str, Job] = st.session_state.setdefault("final_jobs", {})
    if job_id not in seen:
        answer = client().job(job_id)
        if not answer.status.final:
            return answer
        seen[job_id] = answer
    return seen[job_id]


def glimpse(job_id: str) -> bytes | None:
    """The slices of a job that runs that are done, with what is marked so far; None where there is none yet."""
    try:
        return client().glimpse(job_id)
    except RemoteProblem as problem:
        if problem.type != NotFound.type:
            raise
        return None


def history(cursor: str | None) -> tuple[list[Job], str | None]:
    """A page of the jobs of this visit's key, newest first, and where the next one begins."""
    page = client().jobs(MOST_LISTED, cursor)
    return page.jobs, page.next


def repeat(job_id: str, model: str) -> Job:
    """Submit a job's study once more, for another model."""
    return sessions.current().sender.repeat(job_id, model)


def overview() -> Overview:
    """The deployment at a glance."""
    return client().overview()


def promote(version: str) -> None:
    """Put a model version into service; the registry is read anew."""
    client().promote(version)
    _models.clear()


def delete(job_id: str) -> None:
    """Delete a job with all that belongs to it; one that is gone already is fine."""
    try:
        client().delete(job_id)
    except RemoteProblem as problem:
        if problem.type != NotFound.type:
            raise
    st.session_state.get("final_jobs", {}).pop(job_id, None)


def wants_key(problem: RemoteProblem) -> bool:
    """Whether the gateway asks for a key, or for another one."""
    return problem.status == Unauthorised.status

"""What the page asks of the gateway, kept as long as it cannot change."""

import io

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from metseg.client import Attachment, Client, RemoteProblem
from metseg.contracts import Job, ModelPage, Result
from metseg.errors import NotFound
from metseg.settings import settings

TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 120.0


@st.cache_resource(show_spinner=False)
def _reader(url: str) -> Client:
    """For what a reader waits for."""
    return Client(url, timeout_s=TIMEOUT_S, api_key=settings().api_key.get_secret_value())


@st.cache_resource(show_spinner=False)
def _sender(url: str) -> Client:
    """For submissions, which the gateway answers when the last byte lies in the store."""
    return Client(url, timeout_s=UPLOAD_TIMEOUT_S, api_key=settings().api_key.get_secret_value())


def client() -> Client:
    """The client of the gateway that this deployment names."""
    return _reader(settings().gateway_url)


def submit(files: list[Attachment], threshold: float | None, key: str) -> Job:
    """Submit one study; the same key never makes two jobs of it."""
    return _sender(settings().gateway_url).submit(files, threshold=threshold, idempotency_key=key)


def models() -> ModelPage:
    """The registry, at most a quarter of a minute old."""
    return _models(settings().gateway_url)


@st.cache_data(ttl=15, max_entries=4, show_spinner=False)
def _models(url: str) -> ModelPage:
    return _reader(url).models()


def result(job_id: str) -> Result:
    """The result of a job that succeeded: it never changes."""
    return _result(settings().gateway_url, job_id)


@st.cache_resource(max_entries=64, show_spinner=False)
def _result(url: str, job_id: str) -> Result:
    return _reader(url).result(job_id)


def pixels(job_id: str, index: int) -> npt.NDArray[np.uint8]:
    """A slice for display, (row, column, channel)."""
    stored = _slice(settings().gateway_url, job_id, index)
    return np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))


@st.cache_resource(max_entries=1024, show_spinner=False)
def _slice(url: str, job_id: str, index: int) -> bytes:
    return _reader(url).slice(job_id, index)


def job(job_id: str) -> Job:
    """The state of a job; asked again until it is final, then remembered in this session."""
    seen: dict[str, Job] = st.session_state.setdefault("final_jobs", {})
    if job_id not in seen:
        answer = client().job(job_id)
        if not answer.status.final:
            return answer
        seen[job_id] = answer
    return seen[job_id]


def delete(job_id: str) -> None:
    """Delete a job with all that belongs to it; one that is gone already is fine."""
    try:
        client().delete(job_id)
    except RemoteProblem as problem:
        if problem.type != NotFound.type:
            raise
    st.session_state.get("final_jobs", {}).pop(job_id, None)

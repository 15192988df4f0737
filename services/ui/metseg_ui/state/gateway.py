"""Calls to the gateway, cached as long as their answers cannot change, separately for each API key."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import streamlit as st

from metseg.client import Attachment, Client, RemoteProblem
from metseg.contracts import (
    Job,
    KeyInfo,
    ListedJob,
    ModelPage,
    Overview,
    Problem,
    Result,
    Review,
    ReviewRecord,
    Role,
    SequenceChoice,
)
from metseg.errors import NotFound, Unauthorised
from metseg_ui.state import sessions

HISTORY_PAGE_SIZE = 50
FINAL_JOB_S = 10.0

JobState = ListedJob | RemoteProblem
"""A job with the summary of its result, or why its state is unknown."""


def client() -> Client:
    """This session's client."""
    return sessions.current().client


def submit(files: list[Attachment], label: str) -> Job:
    """Submit a study that the page itself has made.

    Args:
        files: its volumes.
        label: what the study is called.

    Returns:
        The queued job.
    """
    return sessions.current().upload_client.submit(files, label=label)


def models() -> ModelPage:
    """The model registry, at most 15 s old."""
    session = sessions.current()
    return _models(session.cache_key, session.client)


@st.cache_data(ttl=15, max_entries=16, show_spinner=False)
def _models(cache_key: str, _client: Client) -> ModelPage:
    return _client.models()


def key_info() -> KeyInfo:
    """The holder of this session's key and its scopes, at most a minute old."""
    session = sessions.current()
    return _key_info(session.cache_key, session.client)


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def _key_info(cache_key: str, _client: Client) -> KeyInfo:
    return _client.me()


def result(job_id: str) -> Result:
    """The result of a job that succeeded; it changes with each review."""
    session = sessions.current()
    return _result(session.cache_key, job_id, review(job_id).number, session.client)


@st.cache_resource(max_entries=64, show_spinner=False)
def _result(cache_key: str, job_id: str, review_number: int, _client: Client) -> Result:
    return _client.result(job_id)


def own_result(job_id: str) -> Result:
    """The model's own answer, whatever a reader changed; it never changes."""
    session = sessions.current()
    return _own_result(session.cache_key, job_id, session.client)


@st.cache_resource(max_entries=64, show_spinner=False)
def _own_result(cache_key: str, job_id: str, _client: Client) -> Result:
    return _client.result(job_id, reviewed=False)


def review(job_id: str) -> ReviewRecord:
    """The review of a job that succeeded; kept for some seconds, since another reader may replace it."""
    kept: dict[str, tuple[float, ReviewRecord]] = st.session_state.setdefault("reviews", {})
    fetched_at, record = kept.get(job_id, (0.0, None))
    if record is None or time.monotonic() - fetched_at >= FINAL_JOB_S:
        record = client().review(job_id)
        kept[job_id] = (time.monotonic(), record)
    return record


def store_review(job_id: str, review: Review | None, replaces: int) -> None:
    """Put a review into force, or return to the model's own answer.

    Args:
        job_id: of a job that succeeded.
        review: the reader's changes; None: the model's own answer.
        replaces: number of the review that the reader saw.

    Raises:
        RemoteProblem: it was not stored, for example since another reader was faster.
    """
    for kept in ("final_jobs", "reviews"):
        st.session_state.get(kept, {}).pop(job_id, None)
    if review is None:
        client().withdraw_review(job_id, replaces)
    else:
        client().put_review(job_id, review, replaces)


def job(job_id: str) -> ListedJob:
    """The state of a job, as in `job_states`.

    Raises:
        RemoteProblem: the gateway does not answer, or has no such job.
    """
    state = job_states([job_id])[job_id]
    if isinstance(state, RemoteProblem):
        raise state
    return state


def job_states(job_ids: Sequence[str]) -> dict[str, JobState]:
    """The states of jobs, in that order, by one request for all that are not kept.

    A final state is kept for some seconds, since another reader may delete the job; nothing is kept of a deleted one.
    """
    final: dict[str, tuple[float, ListedJob]] = st.session_state.setdefault("final_jobs", {})
    now = time.monotonic()
    kept = {job_id: final[job_id][1] for job_id in job_ids if job_id in final and now - final[job_id][0] < FINAL_JOB_S}
    missing = [job_id for job_id in job_ids if job_id not in kept]
    try:
        fetched = {job.id: job for job in client().existing_jobs(missing)}
    except RemoteProblem as problem:
        return {job_id: kept.get(job_id, problem) for job_id in job_ids}
    final.update((job.id, (now, job)) for job in fetched.values() if job.status.final)
    for job_id in set(missing) - set(fetched):
        _forget(job_id)
    known, deleted = kept | fetched, RemoteProblem(Problem.of(NotFound("There is no such job.")))
    return {job_id: known.get(job_id, deleted) for job_id in job_ids}


def existing_jobs(states: Mapping[str, JobState]) -> list[ListedJob]:
    """The jobs of `job_states`; those that were deleted are left out.

    Raises:
        RemoteProblem: the gateway did not answer.
    """
    for state in states.values():
        if isinstance(state, RemoteProblem) and not is_not_found(state):
            raise state
    return [state for state in states.values() if isinstance(state, ListedJob)]


def _forget(job_id: str) -> None:
    """Drop what is kept of a deleted job; answers to other jobs are fetched again."""
    for kept in ("final_jobs", "reviews"):
        st.session_state.get(kept, {}).pop(job_id, None)
    _result.clear()
    _own_result.clear()


def preview(job_id: str) -> bytes | None:
    """A PNG of the slices that a running job has finished, with its lesions so far; None if there is none yet."""
    try:
        return client().preview(job_id)
    except RemoteProblem as problem:
        if problem.type != NotFound.type:
            raise
        return None


def history(cursor: str | None, *, everyone: bool) -> tuple[list[ListedJob], str | None]:
    """A page of jobs with the summaries of their results, newest first.

    Args:
        cursor: of the page; None for the first.
        everyone: the jobs of all keys, not only those of this session's.

    Returns:
        The jobs, and the cursor of the next page.
    """
    page = client().jobs(HISTORY_PAGE_SIZE, cursor, everyone=everyone)
    return page.jobs, page.next


def resubmit(
    job_id: str,
    model: str | None,
    sequence: SequenceChoice | None = None,
    exchanged: Mapping[Role, Role] = MappingProxyType({}),
) -> Job:
    """Submit a job's study again for another model, or as other sequences.

    Args:
        job_id: of the job whose study is used.
        model: the model version; None: the champion.
        sequence: of its grey image; None: as before.
        exchanged: what each image is, by what it was taken for.

    Returns:
        The new job.
    """
    return sessions.current().upload_client.repeat(job_id, model, sequence=sequence, exchanged=exchanged)


def overview() -> Overview:
    """Queue, workers and outcomes of the deployment."""
    return client().overview()


def promote(version: str) -> None:
    """Put a model version into service, and reload the registry."""
    client().promote(version)
    _models.clear()


def delete(job_id: str) -> None:
    """Delete a job and everything that belongs to it; one that is already deleted is no error."""
    try:
        client().delete(job_id)
    except RemoteProblem as problem:
        if problem.type != NotFound.type:
            raise
    _forget(job_id)


def requires_sign_in(problem: RemoteProblem) -> bool:
    """Whether the gateway rejected the API key, or requires one."""
    return problem.status == Unauthorised.status


def is_not_found(problem: RemoteProblem) -> bool:
    """Whether the job no longer exists."""
    return problem.type == NotFound.type or problem.status == NotFound.status

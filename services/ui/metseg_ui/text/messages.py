"""Words for what goes on and for what goes wrong, in the reader's terms."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from itertools import count

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Job, JobStatus
from metseg.errors import NotFound
from metseg_ui.state import gateway, url_state

DISCLAIMER = "Research use only. Not a medical device."
RETRY_S = 3.0
PASSING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Refusals that say nothing of what was sent, only of the moment."""


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th and so on."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def state(job: Job) -> str:
    """The state of a job in a few words."""
    if job.status is JobStatus.QUEUED:
        return "Waiting" if job.queue_position is None else f"Waiting, {ordinal(job.queue_position)} in line"
    if job.status is JobStatus.RUNNING:
        return "Starting" if job.progress is None else f"Slice {job.progress.done} of {job.progress.total}"
    return {JobStatus.SUCCEEDED: "Done", JobStatus.FAILED: "Failed", JobStatus.CANCELLED: "Cancelled"}[job.status]


def clock(moment: datetime) -> str:
    """A time as the reader's clock shows it."""
    minutes = st.context.timezone_offset or 0  # minutes behind UTC, as browsers count
    return f"{moment.astimezone(timezone(-timedelta(minutes=minutes))):%d %b %Y, %H:%M}"


def trouble(problem: RemoteProblem) -> None:
    """Say what is wrong and what to do; where it may pass, ask again and go on by itself."""
    if problem.status <= HTTPStatus.INTERNAL_SERVER_ERROR:
        st.error(f"**{problem.title}.** {problem.detail}", icon=":material/error:")
        return
    rounds = count()

    @st.fragment(run_every=RETRY_S)
    def waiting() -> None:
        _explain(_ask_again(problem) if next(rounds) else problem)

    waiting()


def _ask_again(problem: RemoteProblem) -> RemoteProblem:
    """What is wrong now; where nothing is, draw the whole page anew."""
    try:
        gateway.client().models()
    except RemoteProblem as still:
        return still
    st.rerun()
    return problem


def _explain(problem: RemoteProblem) -> None:
    st.warning(
        f"**The service is not available just now.** {problem.detail}  \n"
        "This page asks again every few seconds and goes on by itself; nothing you submitted is lost. "
        "If it stays so, ask whoever runs this deployment to look at the gateway's state.",
        icon=":material/cloud_off:",
    )


def again(problem: RemoteProblem) -> str:
    """What to do about a refusal that passes, and when."""
    wait_s = math.ceil(problem.retry_after_s or 0)
    when = f"in about {wait_s} seconds" if wait_s > 1 else "in a moment"
    return f"Nothing was taken and what you chose is still here: send it again {when}."


def guarded(draw: Callable[[], None]) -> None:
    """Draw a part of the page; where the gateway refuses or is away, say so in its place."""
    try:
        draw()
    except RemoteProblem as problem:
        trouble(problem)


def gone(problem: RemoteProblem) -> bool:
    """Whether the problem is that the job is not there any more."""
    return problem.type == NotFound.type or problem.status == NotFound.status


def plain(name: str) -> str:
    """A name without the signs that Markdown would take for its own."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]<>()#+!|$:~" else sign for sign in name)


def name(job: Job) -> str:
    """What to call a job: as the reader did, or by its time in another session."""
    return plain(url_state.name(job.id) or f"Scan of {clock(job.created_at)}")

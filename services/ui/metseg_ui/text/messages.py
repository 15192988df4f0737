"""Short messages about jobs and errors."""

import math
import re
from datetime import datetime, timedelta, timezone
from functools import cache
from http import HTTPStatus

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Job, JobStatus, Problem, Role
from metseg.errors import AmbiguousSeries, MetsegError

TRANSIENT_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Of refusals that have nothing to do with what was sent."""
ROLE_TITLES: dict[Role, str] = {"pre": "Pre-contrast T1", "flair": "FLAIR", "post": "Post-contrast T1"}
MARKDOWN_SIGNS = r"\`*_{}[]<>()#+!|$:~"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Args:
        number: how many.
        noun: in the singular; its plural ends in -s or -ies.

    Returns:
        As "1 lesion", "4 lesions" or "1,024 slices".
    """
    return f"{number:,} {plural(noun, number)}"


def plural(noun: str, number: int) -> str:
    """The singular or the plural of a noun.

    Args:
        noun: in the singular; its plural ends in -s or -ies.
        number: how many.

    Returns:
        As "lesion" or "lesions".
    """
    if number == 1:
        return noun
    return f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"


def status_text(job: Job) -> str:
    """The state of a job in a few words."""
    if job.status is JobStatus.QUEUED:
        return "Queued" if job.queue_position is None else f"Queued, position {job.queue_position}"
    if job.status is JobStatus.RUNNING:
        return "Starting" if job.progress is None else f"Slice {job.progress.done} of {job.progress.total}"
    return {JobStatus.SUCCEEDED: "Done", JobStatus.FAILED: "Failed", JobStatus.CANCELLED: "Cancelled"}[job.status]


def local_time(moment: datetime) -> str:
    """Date and time in the browser's time zone."""
    minutes = st.context.timezone_offset or 0  # minutes behind UTC, as browsers count
    return f"{moment.astimezone(timezone(-timedelta(minutes=minutes))):%d %b %Y, %H:%M}"


def problem_text(problem: RemoteProblem) -> str:
    """Title and detail of a problem, in Markdown."""
    return f"**{problem.title}.** {problem.detail}"


@cache
def problem_titles() -> dict[str, str]:
    """The titles of all kinds of problem, by their type."""
    kinds: list[type[MetsegError]] = [MetsegError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return {kind.type: kind.title for kind in kinds}


def retry_advice(problem: RemoteProblem) -> str:
    """What to do after a transient refusal, and when."""
    wait_s = math.ceil(problem.retry_after_s or 0)
    when = f"in about {wait_s} seconds" if wait_s > 1 else "in a moment"
    return f"Nothing was submitted, and your selection is kept. Try again {when}."


def sequence_advice(problem: RemoteProblem | Problem) -> str:
    """What to do on this page about a study whose sequences are not clear; empty for other problems."""
    if problem.type != AmbiguousSeries.type and not re.search(r"\bfields?\b", problem.detail):
        return ""
    return (
        " On this page, switch on “Choose the sequences” above “Find lesions”, and choose the files or folder of each."
    )


def candidates_text(problem: RemoteProblem) -> str:
    """The series in doubt, each on a line of Markdown with what it may be; empty where there are none."""
    lines = [
        f"- Series {one.series}, {one.files} files: {escape_markdown(one.description)}; "
        f"may be {' or '.join(ROLE_TITLES[role] for role in one.fields) or 'none of them'}"
        for one in problem.candidates
    ]
    return "\n\n" + "\n".join(lines) if lines else ""


def review_text(reader: str | None, moment: datetime) -> str:
    """Who reviewed a result, and when.

    Args:
        reader: name of the API key; None if the deployment has no keys.
        moment: when the review was stored.

    Returns:
        A few words of Markdown.
    """
    return f"Reviewed{f' by {escape_markdown(reader)}' if reader else ''}, {local_time(moment)}"


def escape_markdown(text: str) -> str:
    """The text with everything escaped that Markdown would interpret."""
    return "".join(f"\\{sign}" if sign in MARKDOWN_SIGNS else sign for sign in text)


def plain_name(job: Job) -> str:
    """What its submitter called the scan; without a label, when it was submitted."""
    return job.label or f"Scan of {local_time(job.created_at)}"


def display_name(job: Job) -> str:
    """The same in Markdown."""
    return escape_markdown(plain_name(job))

"""Errors of the gateway on the page, with automatic retry where they may pass."""

from collections.abc import Callable
from http import HTTPStatus
from itertools import count

import streamlit as st

from metseg.client import RemoteProblem
from metseg_ui.state import gateway
from metseg_ui.text import messages

RETRY_S = 3.0


def render_safely(render: Callable[[], None]) -> None:
    """Draw a part of the page; if the gateway refuses or is away, show the error in its place."""
    try:
        render()
    except RemoteProblem as problem:
        show(problem)


def show(problem: RemoteProblem) -> None:
    """Show an error; while the gateway is away, retry every few seconds, then draw the page again."""
    if problem.status <= HTTPStatus.INTERNAL_SERVER_ERROR:
        st.error(messages.problem_text(problem), icon=":material/error:")
        return
    runs = count()

    @st.fragment(run_every=RETRY_S)
    def retry() -> None:
        _show_unavailable(_current_problem(problem) if next(runs) else problem)

    retry()


def _current_problem(problem: RemoteProblem) -> RemoteProblem:
    """What is wrong now; if nothing is, draw the whole page again."""
    try:
        gateway.client().models()
    except RemoteProblem as still:
        return still
    st.rerun()
    return problem


def _show_unavailable(problem: RemoteProblem) -> None:
    st.warning(
        f"**The service is temporarily unavailable.** {problem.detail}  \n"
        "This page retries every few seconds and continues automatically; nothing that you submitted is lost. "
        "If the problem persists, ask the operator of this deployment to check the gateway.",
        icon=":material/cloud_off:",
    )

"""The uploader: the reader's files stay in the browser, which sends them to the gateway when the page says how.

Neither Streamlit nor this process ever holds a file: the page knows names and sizes, and `proxy_routes` streams what
the browser sends.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import streamlit as st

from metseg_ui import proxy_routes
from metseg_ui.components.modules import MOUNT, module_path
from metseg_ui.state import sessions

_uploader = st.components.v2.component(
    "metseg_uploader",
    html='<div class="uploader-root"></div>',
    js=MOUNT,
    css=(proxy_routes.ASSETS / "uploader.css").read_text(encoding="utf-8"),
)


class ChosenFile(NamedTuple):
    """A file in the browser.

    Attributes:
        name: with the folders above it, if a folder was chosen.
        size: in bytes.
    """

    name: str
    size: int


def chosen(upload_round: int) -> list[ChosenFile]:
    """The files that the reader has chosen and not submitted yet.

    Args:
        upload_round: of `render`.

    Returns:
        The files, in the order of their names.
    """
    state = st.session_state.get(_key(upload_round))
    return [ChosenFile(str(name), int(size)) for name, size in (state and state.get("chosen")) or ()]


def answers(upload_round: int) -> dict[str, Any] | None:
    """What `on_answers` is called for: `plan`, its id, and `answers`, in the order of its scans.

    Args:
        upload_round: of `render`.

    Returns:
        Of each answer `status`, `headers` and `body`; None for a scan that was not sent. None if there is nothing new.
    """
    found: dict[str, Any] | None = st.session_state[_key(upload_round)].answers
    return found


def render(upload_round: int, hint: str, plan: Mapping[str, Any] | None, on_answers: Callable[[], None]) -> None:
    """Let the reader choose files, and send them.

    Args:
        upload_round: a new one empties the uploader.
        hint: which files are meant.
        plan: what to send; see `panels.submission`. Each is sent once. None: nothing yet.
        on_answers: called when everything is sent, or the reader has cancelled it.
    """
    data = {
        "script": module_path("uploader.js"),
        "key": f"{sessions.current().token}-{upload_round}",
        "hint": hint,
        "plan": plan,
    }
    _uploader(key=_key(upload_round), data=data, on_chosen_change=lambda: None, on_answers_change=on_answers)


def _key(upload_round: int) -> str:
    return f"uploader-{upload_round}"

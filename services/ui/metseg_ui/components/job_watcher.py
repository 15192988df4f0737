"""The job watcher: the browser waits for the end of a job or follow-up, and the page is drawn again at once.

Without it a reader would wait for the next poll of the part of the page that shows the progress meanwhile.
"""

import streamlit as st

from metseg_ui.components.modules import MOUNT, module_path
from metseg_ui.state import sessions

_watcher = st.components.v2.component("metseg_job_watcher", js=MOUNT)


def render(job_id: str | None) -> None:
    """Draw the page again when a job ends, and fetch the viewer's code meanwhile; shows nothing.

    Args:
        job_id: of a job that waits or runs; None: no job is waited for.
    """
    _render(job_id)


def render_follow_up(follow_up_id: str) -> None:
    """The same for a follow-up that waits or runs."""
    _render(f"follow-ups/{follow_up_id}")


def _render(path: str | None) -> None:
    """Wait for what the path below `waits` leads to."""
    _watcher(
        key="job_watcher",
        data={
            "script": module_path("jobWatcher.js"),
            "preload": [module_path("mount.js"), module_path("niivue.umd.js")],
            "wait": None if path is None else f"waits/{sessions.current().token}/{path}",
        },
        on_ended_change=lambda: None,
    )

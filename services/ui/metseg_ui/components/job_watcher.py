"""The job watcher: the browser waits for the end of the selected job, and the page is drawn again at once.

Without it a reader would wait for the next poll of `panels.jobs`, which shows the progress meanwhile.
"""

import streamlit as st

from metseg_ui.components.modules import MOUNT, module_path
from metseg_ui.state import sessions

_watcher = st.components.v2.component("metseg_job_watcher", js=MOUNT)


def render(job_id: str | None) -> None:
    """Draw the page again when a job ends, and fetch the viewer's code meanwhile; shows nothing.

    Args:
        job_id: of the selected job while it waits or runs; None: no job is waited for.
    """
    _watcher(
        key="job_watcher",
        data={
            "script": module_path("jobWatcher.js"),
            "preload": [module_path("mount.js"), module_path("niivue.umd.js")],
            "wait": None if job_id is None else f"waits/{sessions.current().token}/{job_id}",
        },
        on_ended_change=lambda: None,
    )

"""The job watcher: the browser waits for the end of the selected job, and the page is drawn again at once.

Without it a reader would wait for the next poll of `panels.jobs`, which shows the progress meanwhile.
"""

import streamlit as st

from metseg_ui import proxy_routes
from metseg_ui.state import sessions

SCRIPT = """
export default async (component) => {
  const watcher = await import(new URL(component.data.script, document.baseURI));
  return watcher.mount(component);
};
"""

_watcher = st.components.v2.component("metseg_job_watcher", js=SCRIPT)


def render(job_id: str | None) -> None:
    """Draw the page again when a job ends, and fetch the viewer's code meanwhile; shows nothing.

    Args:
        job_id: of the selected job while it waits or runs; None: no job is waited for.
    """
    assets = f"assets/{proxy_routes.assets_version()}"
    _watcher(
        key="job_watcher",
        data={
            "script": f"{assets}/jobWatcher.js",
            "preload": [f"{assets}/mount.js", f"{assets}/niivue.umd.js"],
            "wait": None if job_id is None else f"waits/{sessions.current().token}/{job_id}",
        },
        on_ended_change=lambda: None,
    )

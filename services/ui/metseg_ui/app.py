"""The script that Streamlit runs to draw the page: layout, sidebar, and the choice of view."""

from collections.abc import Mapping
from functools import partial

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import DISCLAIMER, KeyInfo, ModelCard
from metseg_ui.components import problems
from metseg_ui.panels import examples, jobs, model_info, submission, upload
from metseg_ui.state import gateway, sessions, url_state
from metseg_ui.state.gateway import JobState
from metseg_ui.views import admin, follow_up, history, scan, sign_in, welcome

STYLE = """<style>
.stMainBlockContainer { padding-left: 1.5rem; padding-right: 1.5rem; max-width: 1500px; }
[data-testid="stSidebarHeader"] { height: 2rem; margin-bottom: 0; }
[data-testid="stBottomBlockContainer"] { padding: .3rem 2rem; }
[data-testid="stCaptionContainer"] { color: inherit; opacity: .85; }
.st-key-jobs button, .st-key-jobs button div { justify-content: flex-start; text-align: left; }
[data-testid="stPopover"] button[kind="tertiary"] { color: inherit !important; }  /* too dark when open in dark mode */
.st-key-refusals { position: fixed; top: .6rem; left: 50%; transform: translateX(-50%); z-index: 1000000;
width: min(44rem, calc(100vw - 1.2rem)); max-height: 60vh; overflow-y: auto; padding: .6rem; border-radius: .5rem;
background: var(--st-background-color, Canvas); box-shadow: 0 2px 16px rgb(0 0 0 / 35%); }
[data-testid="stMetricLabel"] * { white-space: normal; overflow: visible; }  /* not "Longest dia…" */
.st-key-job_watcher { position: absolute; }  /* it shows nothing, so it takes no place either */
.metseg-notice { text-align: center; font-size: .8rem; font-weight: 600; }
</style>"""
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<ellipse cx="16" cy="16" rx="12" ry="14" fill="#16232b"
stroke="#8fb6c4" stroke-width="2"/><circle cx="20" cy="12" r="4" fill="#f2b632"/></svg>"""


def main() -> None:
    """Draw the page."""
    st.set_page_config("metseg: lesions in brain MRI", ICON, "wide", initial_sidebar_state=270)
    st.html(STYLE)
    st.bottom.html(f'<div class="metseg-notice" role="note">{DISCLAIMER}</div>')
    submission.render_refusals()
    try:
        card, key_info = model_info.champion(gateway.models()), gateway.key_info()
    except RemoteProblem as problem:
        with st.sidebar:
            _brand()
        if gateway.requires_sign_in(problem):
            sessions.current().accepted = False
            sign_in.render(problem)
        else:
            problems.show(problem)
        return
    sessions.current().accepted = True
    states = gateway.job_states(url_state.job_ids())
    with st.sidebar:
        _sidebar(card, key_info, states)
    _main_area(key_info, states)


def _main_area(key_info: KeyInfo, states: Mapping[str, JobState]) -> None:
    view, job_id = url_state.current_view(), url_state.selected()
    if view == url_state.ADMIN and key_info.is_admin:
        problems.render_safely(admin.render)
    elif view == url_state.HISTORY and history.is_available(key_info):
        problems.render_safely(partial(history.render, key_info, states))
    elif view == url_state.FOLLOW_UP:
        problems.render_safely(partial(follow_up.render, key_info, states))
    elif job_id is None:
        welcome.render()
    else:
        problems.render_safely(partial(scan.render, job_id, states[job_id]))


def _brand() -> None:
    st.markdown("### :material/neurology: metseg")


def _sidebar(card: ModelCard | None, key_info: KeyInfo, states: Mapping[str, JobState]) -> None:
    _brand()
    _navigation(key_info)
    upload.render(card)
    if states:
        with st.expander("Example scans"):
            examples.render_buttons()
        st.markdown("**Opened scans**")
        with st.container(key="jobs", gap=None):
            jobs.render_list(states)
    model_info.render_summary(card)
    sign_in.render_sign_out()


def _navigation(key_info: KeyInfo) -> None:
    """Buttons for the views that this reader may open; none if there is only one."""
    labels = {url_state.SCAN: "Scan"}
    if history.is_available(key_info):
        labels[url_state.HISTORY] = history.TITLE
    if follow_up.is_available(key_info):
        labels[url_state.FOLLOW_UP] = "Follow-up"
    if key_info.is_admin:
        labels[url_state.ADMIN] = "Admin"
    if len(labels) == 1:
        return
    with st.container(key="views", horizontal=True, gap="small"):
        for view, label in labels.items():
            st.button(
                label,
                key=f"view-{view}",
                type="secondary" if view == url_state.current_view() else "tertiary",
                on_click=url_state.open_view,
                args=(view,),
            )


main()

"""The page itself: what lies where. `server.py` serves it."""

from functools import partial

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Holder, Job, JobStatus, ModelCard
from metseg_ui.components import viewer
from metseg_ui.panels import comparison, model_info
from metseg_ui.panels import jobs as jobs_panel
from metseg_ui.panels import results as results_panel
from metseg_ui.panels import upload as upload_panel
from metseg_ui.state import gateway, url_state
from metseg_ui.text import messages
from metseg_ui.views import admin, history
from metseg_ui.views import sign_in as login

STYLE = """<style>
.stMainBlockContainer { padding-left: 1.5rem; padding-right: 1.5rem; max-width: 1500px; }
[data-testid="stSidebarHeader"] { height: 2rem; margin-bottom: 0; }
[data-testid="stBottomBlockContainer"] { padding: .3rem 2rem; }
[data-testid="stCaptionContainer"] { color: inherit; opacity: .85; }
[data-testid="stFileUploaderDropzoneInstructions"] { display: none; }  /* rounds 512 MB to 1 GB */
.st-key-jobs button, .st-key-jobs button div { justify-content: flex-start; text-align: left; }
[data-testid="stPopover"] button[kind="tertiary"] { color: inherit !important; }  /* open, it was too dark on dark */
.metseg-notice { text-align: center; font-size: .8rem; font-weight: 600; }
</style>"""
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<ellipse cx="16" cy="16" rx="12" ry="14" fill="#16232b"
stroke="#8fb6c4" stroke-width="2"/><circle cx="20" cy="12" r="4" fill="#f2b632"/></svg>"""


def main() -> None:
    """Draw the page."""
    st.set_page_config("metseg: lesions in brain MRI", ICON, "wide", initial_sidebar_state=270)
    st.html(STYLE)
    st.bottom.html(
        f'<div class="metseg-notice" role="note">{messages.DISCLAIMER} Not for diagnosis or treatment.</div>'
    )
    try:
        card, holder = model_info.champion(gateway.models()), gateway.me()
    except RemoteProblem as problem:
        with st.sidebar:
            _brand()
        if gateway.wants_key(problem):
            login.door(problem)
        else:
            messages.trouble(problem)
        return
    with st.sidebar:
        _sidebar(card, holder)
    view, shown = url_state.view(), url_state.shown()
    if view == url_state.ADMIN and admin.may(holder):
        messages.guarded(admin.page)
    elif view == url_state.HISTORY and history.told(holder):
        messages.guarded(history.table)
    elif shown is None:
        _welcome()
    else:
        messages.guarded(partial(_job, shown))


def _brand() -> None:
    st.markdown("### :material/neurology: metseg")


def _sidebar(card: ModelCard | None, holder: Holder) -> None:
    _brand()
    _views(holder)
    upload_panel.panel(card)
    if url_state.jobs():
        with st.expander("Example scans"):
            upload_panel.examples()
        st.markdown("**Your scans**")
        with st.container(key="jobs", gap=None):
            jobs_panel.jobs()
    model_info.summary(card)
    login.who()


def _views(holder: Holder) -> None:
    """The way to the other views, where there are others for this reader."""
    offered = [(url_state.SCAN, "Scan", True)]
    offered += [(url_state.HISTORY, "All scans", history.told(holder)), (url_state.ADMIN, "Admin", admin.may(holder))]
    names = {view: label for view, label, there in offered if there}
    if len(names) == 1:
        return
    with st.container(key="views", horizontal=True, gap="small"):
        for view, label in names.items():
            st.button(
                label,
                key=f"view-{view}",
                type="secondary" if view == url_state.view() else "tertiary",
                on_click=url_state.see,
                args=(view,),
            )


def _welcome() -> None:
    st.markdown("## Lesions in a brain MRI")
    st.markdown(
        f"Upload a scan on the left: {upload_panel.FORMATS}. A model outlines what it takes for lesions and measures "
        "them; you check every slice and take the masks with you."
    )
    st.markdown("**No scan at hand?** Take a drawn head. No patient is in it.")
    upload_panel.gallery()


def _job(job_id: str) -> None:
    try:
        job = gateway.job(job_id)
    except RemoteProblem as problem:
        if not messages.gone(problem):
            raise
        _gone(job_id)
        return
    _header(job)
    if job.status is JobStatus.SUCCEEDED:
        st.fragment(_result)(job_id)
    elif not job.status.final:
        jobs_panel.progress(job)
    else:
        _ended(job)


def _header(job: Job) -> None:
    files = f"{job.files} file{'s' * (job.files > 1)}"
    when = f", submitted {messages.clock(job.created_at)}" if url_state.name(job.id) else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{messages.name(job)}** &ensp; :small[{files}{when}]", width="content")
        with st.popover("Remove", icon=":material/delete:", type="tertiary"):
            history.removal(job)


def _result(job_id: str) -> None:
    messages.guarded(partial(_picture_and_findings, job_id))


def _picture_and_findings(job_id: str) -> None:
    result = gateway.result(job_id)
    picture, figures = st.columns([11, 9], gap="medium")
    with picture:
        viewer.viewer(job_id, result)
    with figures:
        results_panel.findings(job_id, result)
        comparison.panel(job_id, result)


def _ended(job: Job) -> None:
    if job.problem is None:
        st.info("This scan was cancelled. Remove it, or submit it again.", icon=":material/cancel:")
        return
    st.error(f"**{job.problem.title}.** {job.problem.detail}", icon=":material/error:")
    st.caption("The other scans are not affected. Remove this one, and submit it again once the reason is mended.")


def _gone(job_id: str) -> None:
    st.info(
        "**This scan is not there any more.** Uploads and results are deleted after some days, or when someone removes "
        "them. Submit it again to see it.",
        icon=":material/history:",
    )
    if st.button("Take it off the list", key=f"forget-{job_id}"):
        url_state.forget(job_id)
        st.rerun()


main()

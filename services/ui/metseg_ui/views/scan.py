"""One scan: its progress, its result, or why there is none."""

from functools import partial

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import Job, JobStatus
from metseg.errors import UnknownSequence
from metseg_ui.components import job_watcher, problems, viewer
from metseg_ui.panels import comparison, jobs, results, sequence_choice
from metseg_ui.state import gateway, url_state
from metseg_ui.state.gateway import JobState
from metseg_ui.text import messages


def render(job_id: str, job: JobState) -> None:
    """Show a job in whatever state it is.

    Args:
        job_id: of the job.
        job: its state.

    Raises:
        RemoteProblem: the gateway did not answer.
    """
    if isinstance(job, RemoteProblem):
        if not gateway.is_not_found(job):
            raise job
        _show_missing(job_id)
        return
    _header(job)
    if job.status is JobStatus.SUCCEEDED:
        st.fragment(_result)(job_id)
    elif not job.status.final:
        job_watcher.render(job_id)
        jobs.render_progress(job)
    else:
        _show_failure(job)


def _header(job: Job) -> None:
    submitted = f", submitted {messages.local_time(job.created_at)}" if job.label else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{messages.display_name(job)}** &ensp; :small[{messages.counted(job.files, 'file')}{submitted}]",
            width="content",
        )
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            jobs.confirm_deletion(job)


def _result(job_id: str) -> None:
    problems.render_safely(partial(_viewer_and_results, job_id))


def _viewer_and_results(job_id: str) -> None:
    result = gateway.result(job_id)
    left, right = st.columns([11, 9], gap="medium")
    with left:
        viewer.render(job_id, result, comparison.compared_job(job_id))
    with right:
        results.render(job_id, result)
        comparison.render(job_id, result)


def _show_failure(job: Job) -> None:
    if job.problem is None:
        st.info("This job was cancelled. Delete it, or submit the scan again.", icon=":material/cancel:")
        return
    advice = messages.sequence_advice(job.problem)
    st.error(f"**{job.problem.title}.** {job.problem.detail}{advice}", icon=":material/error:")
    if job.problem.type == UnknownSequence.type:
        sequence_choice.render(job.id)
    st.caption("Other scans are not affected. After fixing the cause, delete this scan and submit it again.")


def _show_missing(job_id: str) -> None:
    st.info(
        "**This scan is no longer available.** Uploads and results are deleted after some days, or when a reader "
        "deletes them. To see it again, submit it again.",
        icon=":material/history:",
    )
    if st.button("Remove from the list", key=f"forget-{job_id}"):
        url_state.remove(job_id)
        st.rerun()

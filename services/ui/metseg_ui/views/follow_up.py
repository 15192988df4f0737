"""Two or more scans of a patient: the choice of scans, the progress of their comparison, and its result."""

from collections.abc import Mapping, Sequence
from datetime import date

import streamlit as st

from metseg.client import RemoteProblem
from metseg.contracts import MAX_STUDIES, Job, JobStatus, KeyInfo
from metseg_ui.components import job_watcher, problems
from metseg_ui.panels import follow_up_result
from metseg_ui.state import gateway, url_state
from metseg_ui.state.gateway import JobState
from metseg_ui.text import messages
from metseg_ui.views import history

POLL_S = 3.0
MIN_SCANS = 2
BY_HAND = ""


def is_available(key_info: KeyInfo) -> bool:
    """Whether there may be scans to compare: the reader has opened some, or has a list of earlier ones."""
    return len(url_state.job_ids()) >= MIN_SCANS or (key_info.name is not None and history.is_available(key_info))


def render(key_info: KeyInfo, states: Mapping[str, JobState]) -> None:
    """Let the reader choose scans, wait for their comparison, and show it.

    Args:
        key_info: of the reader.
        states: of the scans that are open.
    """
    st.markdown("## Follow-up")
    finished = {job.id: job for job in _jobs(key_info, states) if job.status is JobStatus.SUCCEEDED}
    if len(finished) < MIN_SCANS:
        st.info("A follow-up needs two or more finished scans of one patient.", icon=":material/info:")
        return
    with st.expander("Scans to compare", expanded=url_state.follow_up() is None):
        chosen = _choose(sorted(finished.values(), key=_order))
        if st.button("Compare", type="primary", disabled=not MIN_SCANS <= len(chosen) <= MAX_STUDIES):
            _submit(chosen)
    follow_up_id = url_state.follow_up()
    if follow_up_id is not None:
        _render(follow_up_id)


def _jobs(key_info: KeyInfo, states: Mapping[str, JobState]) -> list[Job]:
    """The scans that are open, and the latest of this key."""
    listed: Sequence[Job] = ()
    if key_info.name is not None and history.is_available(key_info):
        listed, _ = gateway.history(None, everyone=False)
    return [*gateway.existing_jobs(states), *listed]


def _choose(jobs: Sequence[Job]) -> list[str]:
    """The scans to compare, oldest first: those of a patient, or any."""
    studies = {patient: _of_patient(jobs, patient) for patient in {job.patient for job in jobs if job.patient}}
    patients = sorted(patient for patient, found in studies.items() if len(found) >= MIN_SCANS)
    patient = BY_HAND
    if patients:
        options = [*patients, BY_HAND]
        patient = st.selectbox("Patient", options, format_func=lambda one: one or "Choose the scans by hand")
    names = {job.id: f"{place}. {_name(job)}" for place, job in enumerate(jobs, start=1)}
    chosen = st.multiselect(
        "Scans of one patient, oldest first",
        list(names),  # Streamlit identifies options by their names, and two scans may have the same one
        default=studies[patient] if patient else [] if patients else list(names)[:MAX_STUDIES],
        format_func=names.__getitem__,
        key=f"scans-{patient}",
        help="The first scan is the baseline. Scans with a date are in its order.",
    )
    return sorted(chosen, key=list(names).index)


def _of_patient(jobs: Sequence[Job], patient: str | None) -> list[str]:
    """The scans of a patient in the order of their dates; of one day the one that was submitted last."""
    by_date = {job.taken_on: job for job in sorted(jobs, key=lambda job: job.created_at) if job.patient == patient}
    return [job.id for job in sorted(by_date.values(), key=_order) if job.taken_on is not None][-MAX_STUDIES:]


def _order(job: Job) -> tuple[date, str]:
    return job.taken_on or job.created_at.date(), job.id


def _name(job: Job) -> str:
    parts = (str(job.taken_on) if job.taken_on else "", job.patient or "", messages.plain_name(job))
    return ", ".join(part for part in parts if part)


def _submit(chosen: Sequence[str]) -> None:
    try:
        url_state.open_follow_up(gateway.client().submit_follow_up(chosen).id)
    except RemoteProblem as problem:
        problems.show(problem)
        return
    st.rerun()


def _render(follow_up_id: str) -> None:
    try:
        found = gateway.client().follow_up(follow_up_id)
    except RemoteProblem as problem:
        if not gateway.is_not_found(problem):
            raise
        st.info("This follow-up is no longer available; compare the scans again.", icon=":material/history:")
        return
    if found.result is not None:
        follow_up_result.render(follow_up_id, found.result)
    elif found.status.final:
        st.error(found.problem.detail if found.problem else "The comparison was cancelled.")
    else:
        _wait(follow_up_id)


def _wait(follow_up_id: str) -> None:
    """Show the state, also where the browser cannot wait for the end."""
    job_watcher.render_follow_up(follow_up_id)

    @st.fragment(run_every=POLL_S)
    def poll() -> None:
        latest = gateway.client().follow_up(follow_up_id)
        st.caption(f":material/progress_activity: Comparing the scans: {latest.status}")
        if latest.status.final:
            st.rerun()

    poll()

"""Two model versions on one scan: their agreement, and the lesions that only one of them marks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import streamlit as st

from metseg.client import Client
from metseg.contracts import Job, JobStatus, Lesion, ModelPage, Result
from metseg.formats import read_mask
from metseg.imaging import Mask
from metseg_ui.components import job_watcher
from metseg_ui.state import gateway, sessions
from metseg_ui.text import messages

POLL_S = 3.0


class Agreement(NamedTuple):
    """How far two masks of one scan agree.

    Attributes:
        dice: 1 if both masks are empty.
        only_first: numbers of the lesions that only the first mask has.
        only_second: numbers of the lesions that only the second has.
    """

    dice: float
    only_first: list[int]
    only_second: list[int]


def compared_job(job_id: str) -> str | None:
    """The job that the reader compares this one with, once that has succeeded."""
    other = _chosen(job_id)
    return other if other and gateway.job(other).status is JobStatus.SUCCEEDED else None


def render(job_id: str, result: Result) -> None:
    """Let the reader choose another model version, wait for it, and show how the two differ.

    Args:
        job_id: of a job that succeeded.
        result: of the job.
    """
    other = _chosen(job_id)
    with st.expander("Compare with another model", expanded=other is not None, icon=":material/compare:"):
        if other is None:
            _choose(job_id, result, gateway.models())
            return
        job = gateway.job(other)
        if not job.status.final:
            _wait(job)
        elif job.status is JobStatus.SUCCEEDED:
            _show_difference(job_id, result, other)
        else:
            st.error(job.problem.detail if job.problem else "The comparison was cancelled.")
        if st.button("End comparison", key=f"uncompare-{job_id}"):
            st.session_state["compared"].pop(job_id)
            st.rerun()


def agreement(first: Mask, second: Mask, lesions: Sequence[Lesion], others: Sequence[Lesion]) -> Agreement:
    """Compare two masks on the same grid.

    Args:
        first: bool, (slice, row, column).
        second: the same shape.
        lesions: of the first mask.
        others: of the second.

    Returns:
        Dice, and the lesions in whose bounding box the masks share no voxel.
    """
    both = first & second
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    unmatched = [
        [lesion.number for lesion in found if not both[tuple(map(slice, lesion.box.first, lesion.box.stop))].any()]
        for found in (lesions, others)
    ]
    return Agreement(2 * int(np.count_nonzero(both)) / total if total else 1.0, *unmatched)


def _chosen(job_id: str) -> str | None:
    other: str | None = st.session_state.get("compared", {}).get(job_id)
    return other


def _choose(job_id: str, result: Result, models: ModelPage) -> None:
    versions = [card.version for card in models.models if card.version != result.model_version]
    if not versions:
        st.caption("No other model version is available.")
        return
    version = st.selectbox("Model version", versions, key=f"other-{job_id}")
    if st.button("Run on this scan", key=f"compare-{job_id}"):
        st.session_state.setdefault("compared", {})[job_id] = gateway.resubmit(job_id, version).id
        st.rerun()


def _wait(job: Job) -> None:
    """Show the progress, also where the browser cannot wait for the end."""
    job_watcher.render(job.id)

    @st.fragment(run_every=POLL_S)
    def poll() -> None:
        latest = gateway.job(job.id)
        st.caption(f":material/progress_activity: Other model: {messages.status_text(latest)}")
        if latest.status.final:
            st.rerun()

    poll()


def _show_difference(job_id: str, result: Result, other_id: str) -> None:
    other = gateway.result(other_id)
    session = sessions.current()
    found = _agreement(session.cache_key, job_id, other_id, session.client)
    first, second = st.columns(2)
    first.metric("Dice", f"{found.dice:.3f}")
    second.metric("Lesions", f"{len(result.lesions)} : {len(other.lesions)}")
    st.markdown(
        f"- This model (orange): `{result.model_version}`, {result.network}\n"
        f"- Other model (teal): `{other.model_version}`, {other.network}\n"
        f"- Marked only by this model: {_describe(result, found.only_first)}\n"
        f"- Marked only by the other model: {_describe(other, found.only_second)}"
    )


@st.cache_data(max_entries=64, show_spinner="Comparing the masks …")
def _agreement(cache_key: str, job_id: str, other_id: str, _client: Client) -> Agreement:
    masks = [read_mask(_client.volume(each, "mask")) for each in (job_id, other_id)]
    return agreement(masks[0], masks[1], gateway.result(job_id).lesions, gateway.result(other_id).lesions)


def _describe(result: Result, numbers: Sequence[int]) -> str:
    return (
        ", ".join(
            f"lesion {lesion.number} (slice {lesion.largest_slice + 1}, {messages.counted(lesion.voxels, 'voxel')})"
            for lesion in result.lesions
            if lesion.number in numbers
        )
        or "none"
    )

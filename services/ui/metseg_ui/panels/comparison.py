"""Two model versions on one scan: both masks in one viewer, their agreement, and the lesions that one alone marks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import streamlit as st

from metseg.client import Client
from metseg.contracts import Job, JobStatus, Lesion, ModelPage, Result
from metseg.formats import read_mask
from metseg_ui.state import gateway, sessions
from metseg_ui.text import messages, summaries

Mask = npt.NDArray[np.bool_]


def chosen(job_id: str) -> str | None:
    """The job that this one is compared with, in this session."""
    other: str | None = st.session_state.get("compared", {}).get(job_id)
    return other


def panel(job_id: str, result: Result) -> None:
    """Choose the other version, wait for it, and read how the two differ."""
    other = chosen(job_id)
    with st.expander("Compare with another model", expanded=other is not None, icon=":material/compare:"):
        if other is None:
            _choice(job_id, result, gateway.models())
            return
        job = gateway.job(other)
        if not job.status.final:
            _waiting(job)
        elif job.status is JobStatus.SUCCEEDED:
            _difference(job_id, result, other)
        else:
            st.error(job.problem.detail if job.problem else "The comparison was cancelled.")
        if st.button("End the comparison", key=f"uncompare-{job_id}"):
            st.session_state["compared"].pop(job_id)
            st.rerun()


def _choice(job_id: str, result: Result, models: ModelPage) -> None:
    versions = [card.version for card in models.models if card.version != result.model_version]
    if not versions:
        st.caption("There is no other model version here to compare with.")
        return
    version = st.selectbox("The other version", versions, key=f"other-{job_id}")
    if st.button("Run it on this scan", key=f"compare-{job_id}"):
        st.session_state.setdefault("compared", {})[job_id] = gateway.repeat(job_id, version).id
        st.rerun()


def _waiting(job: Job) -> None:
    @st.fragment(run_every=1.0)
    def look() -> None:
        state = gateway.job(job.id)
        st.caption(f":material/progress_activity: The other model: {messages.state(state)}")
        if state.status.final:
            st.rerun()

    look()


def _difference(job_id: str, result: Result, other_id: str) -> None:
    other = gateway.result(other_id)
    visit = sessions.current()
    agreement = _agreement(visit.who, job_id, other_id, visit.reader)
    first, second = st.columns(2)
    first.metric("Dice", f"{agreement.dice:.3f}")
    second.metric("Lesions", f"{len(result.lesions)} : {len(other.lesions)}")
    st.markdown(
        f"- This, orange: `{result.model_version}` ({summaries.network(result.network)})\n"
        f"- Other, teal: `{other.model_version}` ({summaries.network(other.network)})\n"
        f"- Only this one marks: {_named(result, agreement.only_first)}\n"
        f"- Only the other marks: {_named(other, agreement.only_second)}"
    )


class Agreement(NamedTuple):
    """How two masks of one scan agree: their Dice, and the numbers of the lesions that one alone marks."""

    dice: float
    only_first: list[int]
    only_second: list[int]


def _named(result: Result, numbers: Sequence[int]) -> str:
    lesions = [lesion for lesion in result.lesions if lesion.number in numbers]
    return ", ".join(_lesion(lesion) for lesion in lesions) or "no lesion"


def _lesion(lesion: Lesion) -> str:
    return f"lesion {lesion.number} (slice {lesion.largest_slice + 1}, {lesion.voxels:,} voxels)"


@st.cache_data(max_entries=64, show_spinner="Comparing the masks …")
def _agreement(who: str, job_id: str, other_id: str, _reader: Client) -> Agreement:
    masks = [read_mask(_reader.volume(each, "mask")) for each in (job_id, other_id)]
    return agreement(masks[0], masks[1], gateway.result(job_id).lesions, gateway.result(other_id).lesions)


def agreement(first: Mask, second: Mask, lesions: Sequence[Lesion], others: Sequence[Lesion]) -> Agreement:
    """Compare two masks of one grid.

    Args:
        first: bool, (slice, row, column).
        second: the same shape.
        lesions: of the first mask.
        others: of the second.

    Returns:
        Dice, 1 where both are empty, and the lesions in whose box the masks share no voxel.
    """
    both = first & second
    marked = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    alone = [
        [lesion.number for lesion in found if not both[tuple(map(slice, lesion.box.first, lesion.box.stop))].any()]
        for found in (lesions, others)
    ]
    return Agreement(2 * int(np.count_nonzero(both)) / marked if marked else 1.0, *alone)

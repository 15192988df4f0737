"""Other sequences for a scan whose images were taken for the wrong ones, or whose only one was not recognised."""

from collections.abc import Sequence

import streamlit as st

from metseg.contracts import Role
from metseg.imaging import ROLES
from metseg_ui.state import gateway, url_state
from metseg_ui.text import messages


def render(job_id: str, taken_for: Role | None = None, model: str | None = None) -> None:
    """Let the reader submit a scan again as another sequence.

    Args:
        job_id: of a job that has ended.
        taken_for: the sequence that it was taken for; None where it was not recognised.
        model: the version to use; None: the champion.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "If it is another sequence" if taken_for else "If it is one of these sequences",
            [role for role in ROLES if role != taken_for],
            format_func=messages.ROLE_TITLES.__getitem__,
            key=f"sequence-{job_id}",
        )
        if st.button("Segment again", key=f"segment-again-{job_id}"):
            url_state.add(gateway.resubmit(job_id, model, chosen).id)
            st.rerun()


def render_exchange(job_id: str, taken_for: Sequence[Role], model: str) -> None:
    """Let the reader say what each image of a scan is, and submit the scan again with that.

    Args:
        job_id: of a job that succeeded.
        taken_for: the sequences that its images were taken for.
        model: the version to use.
    """
    with st.expander("If these are other sequences", icon=":material/swap_horiz:"):
        chosen: dict[Role, Role] = {}
        for role in taken_for:
            chosen[role] = st.selectbox(
                f"Taken for {messages.ROLE_TITLES[role]}; it is",
                ROLES,
                ROLES.index(role),
                format_func=messages.ROLE_TITLES.__getitem__,
                key=f"exchange-{role}-{job_id}",
            )
        is_clear = len({*chosen.values()}) == len(chosen)
        if not is_clear:
            st.caption("Two images cannot be the same sequence.")
        is_same = all(role == other for role, other in chosen.items())
        if st.button("Segment again with these sequences", key=f"exchange-{job_id}", disabled=is_same or not is_clear):
            url_state.add(gateway.resubmit(job_id, model, exchanged=chosen).id)
            st.rerun()

"""Another sequence for a scan of one grey image that was taken for the wrong one, or not recognised."""

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

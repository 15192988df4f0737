"""Buttons that submit an example scan."""

import streamlit as st

from metseg.client import Attachment
from metseg_ui import example_scans
from metseg_ui.example_scans import EXAMPLES, Example, ExampleScan
from metseg_ui.panels import submission


def render_buttons() -> None:
    """One button per example."""
    for example in EXAMPLES:
        _submit_button(example)


def render_gallery() -> None:
    """One card per example: a slice, a description and the button."""
    for column, example in zip(st.columns(len(EXAMPLES)), EXAMPLES, strict=True):
        with column.container(border=True, height="stretch", vertical_alignment="distribute"):
            st.image(_scan(example).preview, width="stretch", alt=f"Synthetic head. {example.description}")
            st.caption(example.description)
            _submit_button(example)


def _submit_button(example: Example) -> None:
    if st.button(example.title, key=f"example-{example.seed}", width="stretch"):
        attachments = [
            Attachment(f"example-{example.seed}-{role}.nii.gz", content, role)
            for role, content in _scan(example).volumes.items()
        ]
        submission.submit_at_once(f"Example: {example.title.lower()}", attachments)


@st.cache_resource(max_entries=len(EXAMPLES), show_spinner="Loading a synthetic head …")
def _scan(example: Example) -> ExampleScan:
    return example_scans.find(example)

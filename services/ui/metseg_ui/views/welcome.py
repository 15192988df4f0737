"""The start page, shown while the URL lists no job."""

import streamlit as st

from metseg_ui.panels import examples, upload


def render() -> None:
    """What the page does, and examples to try."""
    st.markdown("## Find lesions in a brain MRI")
    st.markdown(
        f"Upload a scan in the sidebar ({upload.FORMATS}). The model outlines suspected lesions and measures them; "
        "you review every slice and download the masks."
    )
    st.markdown(
        f"It uses {upload.SEQUENCES}. The better it knows which file is which, the better the result: name the files "
        "accordingly, or switch on “Choose the sequences”. A missing sequence is replaced by another, with a warning."
    )
    st.markdown("**No scan available?** Try a synthetic head, which contains no patient data.")
    examples.render_gallery()

"""The start page, shown while the URL lists no job."""

import streamlit as st

from metseg_ui.components import job_watcher
from metseg_ui.panels import examples, upload


def render() -> None:
    """What the page does, and examples to try."""
    job_watcher.render(None)  # before the gallery, whose pictures take longer than the viewer's code
    st.markdown("## Find lesions in a brain MRI")
    st.markdown(
        f"Upload a scan in the sidebar ({upload.FORMATS}). The model outlines suspected lesions and measures them; "
        "you review every slice and download the masks."
    )
    st.markdown(
        f"It uses {upload.SEQUENCES}. The better it knows which file is which, the better the result: name the files "
        "accordingly, or switch on “Choose the sequences”. A sequence may be missing, which "
        "the result says; without post-contrast T1 no tumour core is known, only the FLAIR abnormality."
    )
    st.markdown("**No scan available?** Try a synthetic head, which contains no patient data.")
    examples.render_gallery()

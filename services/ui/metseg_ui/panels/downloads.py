"""The downloads of a result."""

import streamlit as st

from metseg.contracts import Result
from metseg.results.exports import EXPORTS, MAX_MARGIN_MM, Export, find_export
from metseg_ui import proxy_routes
from metseg_ui.state import sessions

MASKS = ("zip", "nifti", "tiff")
DICOM_EXPORTS = ("dicom-seg", "structured-report", "secondary-capture")
CORE_EXPORTS = ("core", "labels")
DOWNLOAD = ":material/download:"
MORE_EXPORTS = ("csv", "report", "overlays", "animation", "probability", "lesion-numbers")


def render(job_id: str, result: Result) -> None:
    """One link per export; its file is made when it is followed, and does not pass through Streamlit.

    Args:
        job_id: of a job that succeeded.
        result: of the job.
    """
    masks = MASKS if len(result.slices) > 1 else ("png", *MASKS)
    st.markdown("**Downloads**")
    with st.container(horizontal=True, gap="small"):
        core = CORE_EXPORTS if result.structure == "core" else ()
        _export_buttons(job_id, *core, *masks, *(DICOM_EXPORTS if result.dicom else ()))
        st.download_button(
            "Result, JSON",
            result.model_dump_json(indent=2),
            f"metseg-{job_id[-6:]}-result.json",
            "application/json",
            on_click="ignore",
            icon=DOWNLOAD,
        )
    with st.popover("More downloads", icon=":material/folder_zip:", type="tertiary"):
        _export_buttons(job_id, *MORE_EXPORTS, *(("uncertainty",) if result.uncertainty_words else ()))
    if result.dicom:
        with st.popover("For planning", icon=":material/adjust:", type="tertiary"):
            _planning(job_id, result)


def _planning(job_id: str, result: Result) -> None:
    """Contours for a planning system, with a margin around targets where there can be any."""
    margin_mm = 0.0
    if result.structure == "core":
        st.caption("A GTV for each lesion, on the images of the FLAIR. Contours are proposals: check each of them.")
        margin_mm = st.number_input("Margin of a PTV, mm", 0.0, float(MAX_MARGIN_MM), 0.0, 0.5, help="0: GTVs alone")
    else:
        st.caption("Contours of FLAIR abnormalities. Without a known core none of them is called a target.")
    _export_button(job_id, find_export("mask", "rtstruct", margin_mm=margin_mm))


def _export_buttons(job_id: str, *names: str) -> None:
    for name in names:
        _export_button(job_id, EXPORTS[name])


def _export_button(job_id: str, export: Export) -> None:
    st.link_button(export.title, proxy_routes.export_url(sessions.current().token, job_id, export), icon=DOWNLOAD)

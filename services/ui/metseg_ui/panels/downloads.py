"""The downloads of a result."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from metseg.contracts import Result
from metseg.results.exports import EXPORTS
from metseg_ui.state import gateway

MASKS = ("zip", "nifti", "tiff")
DICOM_EXPORTS = ("dicom-seg", "structured-report")
CORE_EXPORTS = ("core", "labels")
MORE_EXPORTS = ("csv", "report", "overlays", "animation", "probability", "lesion-numbers")


def render(job_id: str, result: Result) -> None:
    """One button per export; the file is fetched from the gateway when the button is clicked.

    Args:
        job_id: of a job that succeeded.
        result: of the job.
    """
    masks = MASKS if len(result.slices) > 1 else ("png", *MASKS)
    result_json = partial(result.model_dump_json, indent=2)
    st.markdown("**Downloads**")
    with st.container(horizontal=True, gap="small"):
        core = CORE_EXPORTS if result.structure == "core" else ()
        _export_buttons(job_id, *core, *masks, *(DICOM_EXPORTS if result.dicom else ()))
        _button(job_id, "Result, JSON", result_json, "result.json", "application/json")
    with st.popover("More downloads", icon=":material/folder_zip:", type="tertiary"):
        _export_buttons(job_id, *MORE_EXPORTS, *(("uncertainty",) if result.uncertainty_words else ()))


def _export_buttons(job_id: str, *names: str) -> None:
    client = gateway.client()
    for export in map(EXPORTS.__getitem__, names):
        _button(job_id, export.title, partial(client.export, job_id, export), export.file_name, export.media_type)


def _button(job_id: str, label: str, fetch: Callable[[], bytes | str], file_name: str, media_type: str) -> None:
    file_name = f"metseg-{job_id[-6:]}-{file_name}"
    st.download_button(label, fetch, file_name, media_type, on_click="ignore", icon=":material/download:")

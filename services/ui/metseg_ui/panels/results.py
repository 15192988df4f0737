"""What was found in a finished job: figures, lesions, warnings, downloads."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from metseg.contracts import Result
from metseg.results.exports import EXPORTS
from metseg_ui.components.viewer import jump, shown
from metseg_ui.state import gateway
from metseg_ui.text import messages, summaries

DIAMETERS = "Largest diameter in a slice × the longest across it"
COLUMNS = {
    "No.": st.column_config.NumberColumn(width=36),
    "Slice": st.column_config.NumberColumn(width=48, help="Where the lesion is largest"),
    "Size, mm": st.column_config.TextColumn(width=84, help=DIAMETERS),
    "Size, px": st.column_config.TextColumn(width=84, help=DIAMETERS),
    "Vol., ml": st.column_config.NumberColumn(format="%.2f", width=72, help="Volume in millilitres"),
    "Voxels": st.column_config.NumberColumn(width=72),
    "Unsure": st.column_config.NumberColumn(
        format="%d%%", width=60, help="How far mirrored views disagree on its extent"
    ),
    "Prob.": st.column_config.NumberColumn(format="%d%%", width=56, help="Mean probability inside the lesion"),
}


def findings(job_id: str, result: Result) -> None:
    """Everything beside the picture."""
    for column, (label, value) in zip(st.columns(3), summaries.headline(result), strict=True):
        column.metric(label, value)
    _table(job_id, result)
    for sentence in summaries.remarks(result):
        st.caption(messages.plain(sentence))
    for warning in summaries.cautions(result):
        st.warning(messages.plain(warning), icon=":material/info:")
    _downloads(job_id, result)
    _details(result)


def _table(job_id: str, result: Result) -> None:
    if not result.lesions:
        st.info("The model marked no lesion. That does not mean that there is none.", icon=":material/info:")
        return
    key = f"table-{job_id}"

    def follow() -> None:
        for row, _ in st.session_state[key].selection.cells:
            jump(job_id, result.lesions[row].largest_slice)

    st.dataframe(
        summaries.lesion_rows(result),
        key=key,
        hide_index=True,
        column_config=COLUMNS,
        on_select=follow,
        selection_mode="single-cell",
        alt=f"The {len(result.lesions)} lesions found, largest first.",
    )
    st.caption("Click a lesion to see the slice where it is largest.")


def _downloads(job_id: str, result: Result) -> None:
    masks = ["zip", "nifti", "tiff"] if len(result.slices) > 1 else ["png", "zip", "nifti", "tiff"]
    index = shown(job_id, result)
    stem = _stem(job_id)
    st.markdown("**Downloads**")
    with st.container(horizontal=True, gap="small"):
        _exports(job_id, *masks, *(["dicom-seg", "structured-report"] if result.dicom else []))
        overlay = partial(gateway.client().overlay, job_id, index)
        _download("This slice, PNG", overlay, f"{stem}-slice-{index + 1:04d}.png", "image/png")
        _download("Result, JSON", lambda: result.model_dump_json(indent=2), f"{stem}-result.json", "application/json")
    with st.popover("More downloads", icon=":material/folder_zip:", type="tertiary"):
        _exports(job_id, "csv", "report", "overlays", "animation", "probability")
        if result.uncertainty_words:
            _exports(job_id, "uncertainty")


def _stem(job_id: str) -> str:
    """What the names of a job's downloads begin with."""
    return f"metseg-{job_id[-6:]}"


def _exports(job_id: str, *names: str) -> None:
    """A button for each of these exports."""
    reader = gateway.client()
    for export in map(EXPORTS.__getitem__, names):
        data = partial(reader.export, job_id, export)
        _download(export.title, data, f"{_stem(job_id)}-{export.file_name}", export.media_type)


def _download(label: str, data: Callable[[], bytes | str], file_name: str, mime: str) -> None:
    st.download_button(label, data, file_name, mime, on_click="ignore", icon=":material/download:")


def _details(result: Result) -> None:
    with st.expander("How it was made"):
        took = sum(result.durations_s.values())
        st.markdown(
            f"- Scan: {summaries.extent(result)}\n"
            f"- Model: `{result.model_version}` ({summaries.network(result.network)})\n"
            f"- Threshold: {result.threshold:.2f}\n"
            f"- Time: {took:.1f} s"
        )
        st.caption(result.disclaimer)

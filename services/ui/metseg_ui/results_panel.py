"""What was found in a finished job: figures, lesions, warnings, downloads."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from metseg.client import MaskFormat
from metseg.contracts import Result
from metseg_ui import gateway, messages, summaries
from metseg_ui.viewer import jump, shown

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
GZIP = "application/gzip"
MASKS: tuple[tuple[str, MaskFormat, str, str], ...] = (
    ("Masks, ZIP", "zip", "zip", "application/zip"),
    ("Mask, NIfTI", "nifti", "nii.gz", GZIP),
    ("Mask, TIFF", "tiff", "tif", "image/tiff"),
)
DICOM_MASK: tuple[str, MaskFormat, str, str] = ("Mask, DICOM SEG", "dicom-seg", "dcm", "application/dicom")
SINGLE_MASK: tuple[str, MaskFormat, str, str] = ("Mask, PNG", "png", "png", "image/png")


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
    masks = MASKS if len(result.slices) > 1 else (SINGLE_MASK, *MASKS)
    masks = (*masks, DICOM_MASK) if result.dicom else masks
    index = shown(job_id, result)
    stem = f"metseg-{job_id[-6:]}"
    st.markdown("**Downloads**")
    with st.container(horizontal=True, gap="small"):
        for label, form, suffix, mime in masks:
            _download(label, _mask(job_id, form), f"{stem}-mask.{suffix}", mime)
        if result.dicom:
            _download("Measurements, DICOM", _measurements(job_id), f"{stem}-measurements.dcm", "application/dicom")
        _download("This slice, PNG", _overlay(job_id, index), f"{stem}-slice-{index + 1:04d}.png", "image/png")
        _download("Report, JSON", lambda: result.model_dump_json(indent=2), f"{stem}-report.json", "application/json")
    with st.popover("More downloads", icon=":material/folder_zip:", type="tertiary"):
        _more(job_id, result, stem)


def _more(job_id: str, result: Result, stem: str) -> None:
    """What is asked for more rarely."""
    reader = gateway.client()
    _download("Lesions, CSV", partial(reader.lesions, job_id), f"{stem}-lesions.csv", "text/csv")
    _download("Report to print, HTML", partial(reader.report, job_id), f"{stem}-report.html", "text/html")
    _download("All slices outlined, ZIP", partial(reader.overlays, job_id), f"{stem}-overlays.zip", "application/zip")
    _download("Film, WebP", partial(reader.animation, job_id), f"{stem}-film.webp", "image/webp")
    _download("Probability, NIfTI", partial(reader.probability, job_id), f"{stem}-probability.nii.gz", GZIP)
    if result.uncertainty_words:
        _download("Uncertainty, NIfTI", partial(reader.uncertainty, job_id), f"{stem}-uncertainty.nii.gz", GZIP)


def _download(label: str, data: Callable[[], bytes | str], file_name: str, mime: str) -> None:
    st.download_button(label, data, file_name, mime, on_click="ignore", icon=":material/download:")


def _mask(job_id: str, form: MaskFormat) -> Callable[[], bytes]:
    reader = gateway.client()
    return lambda: reader.mask(job_id, form)


def _measurements(job_id: str) -> Callable[[], bytes]:
    reader = gateway.client()
    return lambda: reader.structured_report(job_id)


def _overlay(job_id: str, index: int) -> Callable[[], bytes]:
    reader = gateway.client()
    return lambda: reader.overlay(job_id, index)


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

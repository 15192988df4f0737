"""The result of a job: figures, lesions, warnings, downloads."""

import streamlit as st

from metseg.contracts import Result
from metseg_ui.components import viewer
from metseg_ui.panels import comparison, downloads, sequence_choice
from metseg_ui.state import gateway
from metseg_ui.text import messages, summaries

DIAMETERS = "Longest diameter in a slice × longest diameter perpendicular to it"
AROUND = "FLAIR abnormality around the lesion that is nearest to it"
COLUMNS = {
    "No.": st.column_config.NumberColumn(width=36),
    "Label": st.column_config.TextColumn(width=90),
    "Slice": st.column_config.NumberColumn(width=48, help="The slice in which the lesion is largest"),
    "Size, mm": st.column_config.TextColumn(width=84, help=DIAMETERS),
    "Size, px": st.column_config.TextColumn(width=84, help=DIAMETERS),
    "Vol., ml": st.column_config.NumberColumn(format="%.2f", width=72, help="Volume in millilitres"),
    "Voxels": st.column_config.NumberColumn(width=72),
    "Around, ml": st.column_config.NumberColumn(format="%.2f", width=80, help=AROUND),
    "Around": st.column_config.NumberColumn(width=72, help=f"{AROUND}, in voxels"),
    "Uncert.": st.column_config.NumberColumn(
        format="%d%%", width=60, help="How far repeated predictions disagree on the lesion's extent"
    ),
    "Prob.": st.column_config.NumberColumn(format="%d%%", width=56, help="Mean probability inside the lesion"),
}


def render(job_id: str, result: Result) -> None:
    """Show a result.

    Args:
        job_id: of a job that succeeded.
        result: of the job.
    """
    for column, (label, value) in zip(st.columns(3), summaries.headline(result), strict=True):
        column.metric(label, value)
    _model_notes(job_id, result)
    if result.review is not None:
        own = summaries.one_line(gateway.own_result(job_id).summary)
        st.caption(f"{messages.review_text(result.review.reviewed_by, result.review.reviewed_at)}. The model: {own}.")
    _lesion_table(job_id, result)
    if note := summaries.target_note(result):
        st.caption(note)
    if result.uncertainty_words:
        st.caption(messages.escape_markdown(result.uncertainty_words))
    _sources(job_id, result)
    for warning in summaries.warnings(result):
        st.warning(messages.escape_markdown(warning), icon=":material/info:")
    downloads.render(job_id, result)
    _details(result)


def _model_notes(job_id: str, result: Result) -> None:
    card = next((card for card in gateway.models().models if card.version == result.model_version), None)
    if card is not None:
        is_whole_shown = summaries.has_surroundings(result) and comparison.compared_job(job_id) is None
        notes = summaries.model_notes(card, result, is_whole_shown=is_whole_shown)
        st.caption("  \n".join(map(messages.escape_markdown, notes)))


def _lesion_table(job_id: str, result: Result) -> None:
    if not result.lesions:
        st.info(
            f"The model found no {result.findings}. That does not mean that there are none.", icon=":material/info:"
        )
        return
    key = f"table-{job_id}"

    def show_lesion() -> None:
        for row, _ in st.session_state[key].selection.cells:
            viewer.go_to_lesion(job_id, result.lesions[row])

    st.dataframe(
        summaries.lesion_rows(result),
        key=key,
        hide_index=True,
        column_config=COLUMNS,
        on_select=show_lesion,
        selection_mode="single-cell",
        alt=f"Table of {messages.counted(len(result.lesions), result.finding)}, largest first.",
    )
    st.caption(f"Click a {result.finding} to go to the slice in which it is largest.")


def _sources(job_id: str, result: Result) -> None:
    """What was used as which sequence; a single image can be submitted again as another one."""
    sources = summaries.sources(result)
    if sources:
        lines = "".join(f"\n- {messages.escape_markdown(source)}" for source in sources)
        st.caption(f"Sequences that the model received:\n{lines}")
    if len(result.identified) == 1:
        sequence_choice.render(job_id, next(iter(result.identified)), result.model_version)
    elif result.identified:
        sequence_choice.render_exchange(job_id, list(result.identified), result.model_version)


def _details(result: Result) -> None:
    with st.expander("Processing details"):
        st.markdown(
            f"- Scan: {summaries.scan_size(result)}\n"
            f"- Model: `{result.model_version}`, {result.network}\n"
            f"- Threshold: {result.threshold:.2f}\n"
            f"- Processing time: {sum(result.durations_s.values()):.1f} s"
        )
        st.caption(result.disclaimer)

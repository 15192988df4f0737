"""The model in service: what it is, what it was trained on, how well it does, what it is for."""

import streamlit as st

from metseg.contracts import ModelCard, ModelPage
from metseg_ui.text import messages, summaries


def champion(models: ModelPage) -> ModelCard | None:
    """The card of the version in service."""
    if models.champion is None:
        return None
    return next((card for card in models.models if card.version == models.champion.version), None)


def render_summary(card: ModelCard | None) -> None:
    """The model in a few lines, and a button for the rest."""
    if card is None:
        st.warning("No model is in service yet. Train or register one first.", icon=":material/info:")
        return
    title = summaries.model_caption(card, f"**{card.network}**")
    st.caption(
        f"{title}  \n"
        f"Trained on {messages.escape_markdown(card.data.name)}  \n"
        f"Model licence: {messages.escape_markdown(card.licence)}"
    )
    if st.button("About the model", icon=":material/info:", type="tertiary"):
        show_card(card)


@st.dialog("About the model", width="large", icon=":material/neurology:")
def show_card(card: ModelCard) -> None:
    """The card of a model version, in words."""
    escape = messages.escape_markdown
    st.markdown(f"**{card.network}**, version `{card.version}`")
    st.markdown(escape(card.intended_use))
    st.markdown("**Dice per patient, on test patients that were not used in training**")
    st.table(summaries.model_rows(card), border="horizontal", hide_index=True, alt="Test Dice of each network.")
    data_column, model_column = st.columns(2)
    with data_column:
        st.markdown("**Training data**")
        st.markdown(
            f"{escape(card.data.name)}\n"
            f"- Patients: {_split(card.data.patients)}\n"
            f"- Slices: {_split(card.data.slices)}\n"
            f"- Licence: {escape(card.data.licence)}"
        )
    with model_column:
        st.markdown("**Model**")
        st.markdown(
            f"{card.network}\n"
            f"- Parameters: {card.parameters / 1e6:.1f} million\n"
            f"- Threshold: {card.threshold:.2f}\n"
            f"- Licence: {escape(card.licence)}"
        )
    _list("Limitations", card.limits)
    _list("Please cite", card.data.citations)
    st.caption(f"SHA-256 `{card.sha256}` · code `{card.git_revision}` · created {card.created_at:%d %b %Y}")


def _list(title: str, entries: list[str]) -> None:
    if entries:
        st.markdown(f"**{title}**\n" + "".join(f"\n- {messages.escape_markdown(entry)}" for entry in entries))


def _split(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {part}" for part, count in counts.items())

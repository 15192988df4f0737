"""The model that serves: what it is, what it learned from, how well it does, what it may be used for."""

import streamlit as st

from metseg.contracts import ModelCard, ModelPage
from metseg_ui.text import messages, summaries


def champion(models: ModelPage) -> ModelCard | None:
    """The card of the version that serves."""
    if models.champion is None:
        return None
    return next((card for card in models.models if card.version == models.champion.version), None)


def summary(card: ModelCard | None) -> None:
    """The model in two lines, and the way to the rest."""
    if card is None:
        st.warning("No model is in service yet: train one or register one first.", icon=":material/info:")
        return
    dice = card.figures.get(card.network)
    tested = f" · mean Dice {dice.mean:.2f} on {dice.patients} test patients" if dice else ""
    st.caption(
        f"**{summaries.network(card.network)}**{tested}  \nTrained on {messages.plain(card.data.name)}  \n"
        f"Weights: {messages.plain(card.licence)}"
    )
    if st.button("About the model", icon=":material/info:", type="tertiary"):
        dialog(card)


@st.dialog("The model", width="large", icon=":material/neurology:")
def dialog(card: ModelCard) -> None:
    """The card of a version, in words."""
    st.markdown(f"**{summaries.network(card.network)}**, version `{card.version}`")
    st.markdown(messages.plain(card.intended_use))
    st.markdown("**Dice by patient, on patients that training never saw**")
    st.table(summaries.model_rows(card), border="horizontal", hide_index=True, alt="Dice of every compared network.")
    learned, used = st.columns(2)
    with learned:
        st.markdown("**Learned from**")
        st.markdown(
            f"{messages.plain(card.data.name)}: {_split(card.data.patients)} patients, "
            f"{_split(card.data.slices)} slices.\n\n"
            f"Data licence: {messages.plain(card.data.licence)}"
        )
    with used:
        st.markdown("**Model**")
        st.markdown(
            f"{card.parameters / 1e6:.1f} million weights, threshold {card.threshold:.2f}.\n\n"
            f"Licence of the weights: {messages.plain(card.licence)}"
        )
    if card.limits:
        st.markdown("**Limits**\n" + "".join(f"\n- {messages.plain(limit)}" for limit in card.limits))
    if card.data.citations:
        st.markdown(
            "**Please cite**\n" + "".join(f"\n- {messages.plain(citation)}" for citation in card.data.citations)
        )
    st.caption(f"sha256 `{card.sha256}` · code `{card.git_revision}` · made {card.created_at:%d %b %Y}")


def _split(parts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {part}" for part, count in parts.items())

"""For admins: the models with their cards and reports, promotion with a typed word, queue and workers at a glance."""

import streamlit as st

from metseg.contracts import Holder, ModelCard, ModelPage
from metseg_ui import proxy_routes
from metseg_ui.panels import model_info
from metseg_ui.state import gateway, sessions
from metseg_ui.text import messages, summaries

REPORT_PX = 700
LOOK_S = 5.0


def may(holder: Holder) -> bool:
    """Whether the page of admins is for this visit."""
    return "admin" in holder.scopes


def page() -> None:
    """The whole of it."""
    st.markdown("## Models and service")
    st.fragment(_glance, run_every=LOOK_S)()
    models = gateway.models()
    st.markdown("### Models")
    for card in models.models:
        _model(card, models)


def _glance() -> None:
    messages.guarded(_figures)


def _figures() -> None:
    seen = gateway.overview()
    ended = sum(seen.ended.values())
    well = seen.ended.get("succeeded", 0)
    shown = [
        ("Waiting", str(seen.waiting), f"The first has waited {seen.oldest_s:.0f} s" if seen.waiting else None),
        ("Running", str(seen.working), None),
        ("Workers", str(seen.workers), "They gave a sign of life within a minute"),
        ("Ended well", f"{well} of {ended}", "Since the queue's memory was last emptied"),
    ]
    for column, (label, value, help_) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(label, value, help=help_)
    if not seen.workers:
        st.warning("No worker gives a sign of life; jobs wait until one does.", icon=":material/warning:")
    failed = {kind: count for kind, count in sorted(seen.ended.items()) if kind != "succeeded" and count}
    if failed:
        st.caption("Not well: " + ", ".join(f"{count} {messages.plain(kind)}" for kind, count in failed.items()))


def _model(card: ModelCard, models: ModelPage) -> None:
    serves = models.champion is not None and models.champion.version == card.version
    badge = " :green-badge[in service]" if serves else ""
    with st.container(border=True, key=f"model-{card.version}"):
        dice = card.figures.get(card.network)
        tested = f" · mean Dice {dice.mean:.3f} on {dice.patients} patients" if dice else ""
        st.markdown(
            f"**{summaries.network(card.network)}** `{card.version}`{badge}  \n"
            f":small[{card.created_at:%d %b %Y}{tested}]"
        )
        with st.container(horizontal=True):
            if st.button("Card", key=f"card-{card.version}", icon=":material/info:"):
                model_info.dialog(card)
            if st.button("Report", key=f"report-{card.version}", icon=":material/lab_profile:"):
                _report(card.version)
            if not serves:
                _promotion(card, models)


def _promotion(card: ModelCard, models: ModelPage) -> None:
    """Promote, or roll back where the version is older than the one that serves."""
    now = model_info.champion(models)
    verb = "Roll back" if now is not None and card.created_at < now.created_at else "Promote"
    word = verb.lower()
    with st.popover(verb, icon=":material/swap_horiz:"):
        st.markdown(f"Puts `{card.version}` into service. Jobs that begin from then on are served by it.")
        with st.form(f"promote-{card.version}", border=False):
            typed = st.text_input(f"Type “{word}” to confirm", autocomplete="off", key=f"word-{card.version}")
            sure = st.form_submit_button(f"{verb} to this version" if verb == "Roll back" else "Put into service")
        if not sure:
            return
        if typed.strip().lower() != word:
            st.error(f"Nothing was changed: type the word “{word}”.", icon=":material/error:")
            return
        gateway.promote(card.version)
        st.rerun()


@st.dialog("Report of the training", width="large", icon=":material/lab_profile:")
def _report(version: str) -> None:
    st.caption("As the training wrote it, shown without scripts and without access to this page.")
    st.iframe(proxy_routes.report_address(sessions.current().ticket, version), height=REPORT_PX)

"""For admins: queue and workers, the models with their cards and reports, promotion and rollback."""

import streamlit as st

from metseg.contracts import ModelCard, ModelPage
from metseg_ui import proxy_routes
from metseg_ui.components import problems
from metseg_ui.panels import model_info
from metseg_ui.state import gateway, sessions
from metseg_ui.text import messages, summaries

REPORT_HEIGHT_PX = 700
POLL_S = 5.0


def render() -> None:
    """Figures of the service, then one entry per model version."""
    st.markdown("## Models and service")
    st.fragment(_service, run_every=POLL_S)()
    models = gateway.models()
    st.markdown("### Models")
    for card in models.models:
        _model(card, models)


def _service() -> None:
    problems.render_safely(_service_metrics)


def _service_metrics() -> None:
    overview = gateway.overview()
    finished = sum(overview.ended.values())
    waited = f"The oldest has waited {overview.oldest_s:.0f} s" if overview.waiting else None
    metrics = [
        ("Queued", str(overview.waiting), waited),
        ("Running", str(overview.working), None),
        ("Workers", str(overview.workers), "Workers that reported within the last minute"),
        ("Succeeded", f"{overview.ended.get('succeeded', 0)} of {finished}", "Since Redis was last emptied"),
    ]
    for column, (label, value, help_) in zip(st.columns(len(metrics)), metrics, strict=True):
        column.metric(label, value, help=help_)
    if not overview.workers:
        st.warning("No worker is responding. Jobs stay queued until one does.", icon=":material/warning:")
    failed = {kind: count for kind, count in sorted(overview.ended.items()) if kind != "succeeded" and count}
    if failed:
        titles = messages.problem_titles()
        st.caption("; ".join(f"{titles.get(kind, 'Other problems')}: {count}" for kind, count in failed.items()))


def _model(card: ModelCard, models: ModelPage) -> None:
    in_service = models.champion is not None and models.champion.version == card.version
    badge = " :green-badge[in service]" if in_service else ""
    created = summaries.model_caption(card, f"{card.created_at:%d %b %Y}")
    with st.container(border=True, key=f"model-{card.version}"):
        st.markdown(f"**{card.network}** `{card.version}`{badge}  \n:small[{created}]")
        with st.container(horizontal=True):
            if st.button("Card", key=f"card-{card.version}", icon=":material/info:"):
                model_info.show_card(card)
            if st.button("Report", key=f"report-{card.version}", icon=":material/lab_profile:"):
                _show_report(card.version)
            if not in_service:
                _promotion(card, models)


def _promotion(card: ModelCard, models: ModelPage) -> None:
    """Promote a version, or roll back if it is older than the one in service. The admin confirms by typing a word."""
    current = model_info.champion(models)
    rollback = current is not None and card.created_at < current.created_at
    verb, action = ("Roll back", "Roll back to this version") if rollback else ("Promote", "Put into service")
    word = verb.lower()
    with st.popover(verb, icon=":material/swap_horiz:"):
        st.markdown(f"Puts `{card.version}` into service. It will process all jobs that start from then on.")
        with st.form(f"promote-{card.version}", border=False):
            typed = st.text_input(f"Type “{word}” to confirm", autocomplete="off", key=f"word-{card.version}")
            submitted = st.form_submit_button(action)
        if not submitted:
            return
        if typed.strip().lower() != word:
            st.error(f"Nothing was changed. Type “{word}” to confirm.", icon=":material/error:")
            return
        gateway.promote(card.version)
        st.rerun()


@st.dialog("Training report", width="large", icon=":material/lab_profile:")
def _show_report(version: str) -> None:
    st.caption("As the trainer wrote it, with scripts and network access disabled.")
    st.iframe(proxy_routes.report_url(sessions.current().token, version), height=REPORT_HEIGHT_PX)

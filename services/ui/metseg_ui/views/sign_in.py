"""Sign-in with the reader's API key, where the gateway requires keys and the page has none."""

import streamlit as st

from metseg.client import RemoteProblem
from metseg.settings import settings
from metseg_ui.state import sessions
from metseg_ui.text import messages


def render(problem: RemoteProblem) -> None:
    """The sign-in form, with what was wrong with the last key."""
    st.markdown("## Sign in")
    st.markdown(
        "This deployment requires an API key, which its operator can give you. The page keeps the key only in this "
        "session's memory, and discards it when you sign out or close the page."
    )
    if sessions.current().signed_in or settings().api_key.get_secret_value():
        st.error(messages.problem_text(problem), icon=":material/error:")
    with st.form("sign-in", border=False):
        key = st.text_input("API key", type="password", autocomplete="off", width=420)
        if st.form_submit_button("Sign in", type="primary") and key.strip():
            sessions.sign_in(key.strip())
            st.rerun()


def render_sign_out() -> None:
    """The sign-out button; nothing if the page reads with its own key."""
    if not sessions.current().signed_in:
        return
    if st.button("Sign out", icon=":material/logout:", type="tertiary"):
        sessions.sign_out()
        st.query_params.clear()
        st.rerun()

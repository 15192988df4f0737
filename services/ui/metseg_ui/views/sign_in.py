"""Signing in with one's own key, where the gateway asks for keys and the page has none."""

import streamlit as st

from metseg.client import RemoteProblem
from metseg.settings import settings
from metseg_ui.state import sessions


def door(problem: RemoteProblem) -> None:
    """Ask for a key, and say what was wrong with the last one."""
    st.markdown("## Sign in")
    st.markdown(
        "This deployment asks for an API key; whoever runs it gives you one. The page keeps it in this session's "
        "memory alone, and forgets it when you sign out or close the page."
    )
    if sessions.current().own or settings().api_key.get_secret_value():
        st.error(f"**{problem.title}.** {problem.detail}", icon=":material/error:")
    with st.form("sign-in", border=False):
        key = st.text_input("API key", type="password", autocomplete="off", width=420)
        if st.form_submit_button("Sign in", type="primary") and key.strip():
            sessions.sign_in(key.strip())
            st.rerun()


def who() -> None:
    """Who is signed in, and the way out; nothing where the page reads with its own key."""
    if not sessions.current().own:
        return
    if st.button("Sign out", icon=":material/logout:", type="tertiary"):
        sessions.sign_out()
        st.query_params.clear()
        st.rerun()

"""A session of the page: the API key that it reads with, and the token by which the browser fetches volumes.

A key is kept in the session's memory only. When a browser fetches a file, Streamlit cannot tell its session, and a key
must never be part of a URL. Hence each session has a random token, which opens nothing once its page is closed:
Streamlit keeps a closed session for minutes, in case the browser reconnects, and it opens files again if that happens.
"""

import hashlib
import secrets
from weakref import WeakValueDictionary, finalize

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from metseg.client import Client
from metseg.settings import settings

TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 120.0
READ_ATTEMPTS = 2
"""Few, because the page reports soon that the gateway is away, and retries by itself."""

_sessions: "WeakValueDictionary[str, Session]" = WeakValueDictionary()


class Session:
    """The gateway clients of one Streamlit session; collected when Streamlit discards that session.

    Args:
        url: of the gateway.
        key: the page's API key or the reader's; empty if there is none.
        signed_in: whether the reader entered the key.
    """

    def __init__(self, url: str, key: str, signed_in: bool) -> None:
        self.token = secrets.token_urlsafe(24)
        context = get_script_run_ctx(suppress_warning=True)
        self._streamlit_id = None if context is None else context.session_id
        self.accepted = False
        """Whether the gateway accepted the key, or needs none."""
        self.url, self.signed_in = url, signed_in
        self.client = Client(url, timeout_s=TIMEOUT_S, api_key=key, max_attempts=READ_ATTEMPTS)
        self.upload_client = Client(url, timeout_s=UPLOAD_TIMEOUT_S, api_key=key)
        self.cache_key = hashlib.sha256(f"{url} {key}".encode()).hexdigest()
        """Keeps cached answers of one API key from readers with another."""
        _sessions[self.token] = self
        finalize(self, _close, self.client, self.upload_client)

    def is_connected(self) -> bool:
        """Whether the page is open in a browser; True where Streamlit does not run."""
        if self._streamlit_id is None or not runtime.exists():
            return True
        return runtime.get_instance().is_active_session(self._streamlit_id)


def _close(*clients: Client) -> None:
    for each in clients:
        each.close()


def current() -> Session:
    """This session; it starts with the page's own key."""
    url = settings().gateway_url
    session: Session | None = st.session_state.get("session")
    if session is None or session.url != url:
        session = Session(url, settings().api_key.get_secret_value(), signed_in=False)
        st.session_state["session"] = session
    return session


def sign_in(key: str) -> None:
    """Continue with the reader's key; discard everything that was read with another."""
    sign_out()
    st.session_state["session"] = Session(settings().gateway_url, key, signed_in=True)


def sign_out() -> None:
    """Discard the reader's key, everything that was read with it, and the chosen files."""
    st.session_state.clear()


def client_for(token: str) -> Client | None:
    """The gateway client of the session with that token; None if there is no such session, or its page is closed."""
    session = _connected(token)
    return None if session is None else session.client


def upload_client_for(token: str) -> Client | None:
    """The same with the patience that an upload needs; None also if the gateway has not accepted the session's key."""
    session = _connected(token)
    return session.upload_client if session is not None and session.accepted else None


def _connected(token: str) -> Session | None:
    session = _sessions.get(token)
    return session if session is not None and session.is_connected() else None

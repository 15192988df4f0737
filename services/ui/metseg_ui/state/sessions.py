"""A visit to the page: whose key it reads with, and the ticket by which the browser fetches volumes.

A key lives in the session's memory alone. A browser that fetches a file sends no session along, and a key never
stands in an address, so each visit has a ticket, which nobody guesses and which is worth nothing once it has ended.
"""

import hashlib
import secrets
from weakref import WeakValueDictionary, finalize

import streamlit as st

from metseg.client import Client
from metseg.settings import settings

TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 120.0
ATTEMPTS = 2
"""At reading: the page says soon that the gateway is away, and asks again by itself."""

_visits: "WeakValueDictionary[str, Visit]" = WeakValueDictionary()


class Visit:
    """What belongs to one session of the page; when the session is forgotten, so is this.

    Args:
        url: of the gateway.
        key: of the page or of the reader; empty where there is none.
        own: whether the reader signed in with it.
    """

    def __init__(self, url: str, key: str, own: bool) -> None:
        self.ticket = secrets.token_urlsafe(24)
        self.url, self.own = url, own
        self.reader = Client(url, timeout_s=TIMEOUT_S, api_key=key, attempts=ATTEMPTS)
        self.sender = Client(url, timeout_s=UPLOAD_TIMEOUT_S, api_key=key)
        self.who = hashlib.sha256(f"{url} {key}".encode()).hexdigest()
        """Tells the caches of one key from those of another."""
        _visits[self.ticket] = self
        finalize(self, _close, self.reader, self.sender)


def _close(*clients: Client) -> None:
    for each in clients:
        each.close()


def current() -> Visit:
    """This session's visit; at first with the page's own key."""
    url = settings().gateway_url
    visit: Visit | None = st.session_state.get("visit")
    if visit is None or visit.url != url:
        visit = Visit(url, settings().api_key.get_secret_value(), own=False)
        st.session_state["visit"] = visit
    return visit


def sign_in(key: str) -> None:
    """Go on with the reader's key; what the session remembers of another is forgotten."""
    sign_out()
    st.session_state["visit"] = Visit(settings().gateway_url, key, own=True)


def sign_out() -> None:
    """Forget the reader's key and all that was read with it."""
    st.session_state.clear()


def client(ticket: str) -> Client | None:
    """Whom to ask on behalf of a visit; None where there is no such visit."""
    visit = _visits.get(ticket)
    return None if visit is None else visit.reader

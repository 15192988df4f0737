"""A visit to the page: whose key it reads with, and the ticket by which the browser fetches volumes.

A browser that fetches a file sends no session along, and a key never stands in an address. So each visit has a
ticket, which nobody guesses; it is worth nothing once the visit has ended.
"""

import secrets
from weakref import WeakValueDictionary

import streamlit as st

from metseg.client import Client

_visits: "WeakValueDictionary[str, Visit]" = WeakValueDictionary()


class Visit:
    """What belongs to one session of the page; when the session is forgotten, so is this."""

    def __init__(self) -> None:
        self.ticket = secrets.token_urlsafe(24)
        self.client: Client | None = None


def ticket(client: Client) -> str:
    """The ticket of this session, which reads with that client from now on."""
    if "visit" not in st.session_state:
        st.session_state["visit"] = Visit()
    visit: Visit = st.session_state["visit"]
    visit.client = client
    _visits[visit.ticket] = visit
    return visit.ticket


def client(ticket: str) -> Client | None:
    """Whom to ask on behalf of a visit; None where there is no such visit."""
    visit = _visits.get(ticket)
    return None if visit is None else visit.client

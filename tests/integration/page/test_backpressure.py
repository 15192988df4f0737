"""A deployment without room, or out of reach: the page says so in words and when to come back, and loses nothing."""

import socket

import pytest
from tests.fake_gateway import FakeGateway, serving
from tests.integration.page.visitor import listed, png, press, run, submitted, told, upload

from metseg.client import http_client
from metseg.errors import MetsegError, QueueFull, StorageFull, TooManyRequests
from metseg.settings import settings
from metseg_ui.state import sessions

REFUSALS = [
    QueueFull("50 jobs wait already; submit again when some are done."),
    StorageFull("Too little room is left for this upload; delete jobs, or ask the operator to make room."),
    TooManyRequests("You may submit 60 studies a minute; wait a little."),
]
named = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.type.rpartition("/")[2])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The client asks again at once, whatever pause the gateway wishes for."""
    monkeypatch.setattr(http_client, "LONGEST_PAUSE_S", 0.0)


@named
def test_a_refusal_that_passes_is_told_with_what_to_do_and_when(page, gateway, refusal: MetsegError):
    gateway.refusal, gateway.retry_after_s = refusal, 30
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    [warning] = at.warning
    assert warning.value.startswith(f"**{refusal.title}.** {refusal.detail} ")
    assert "send it again in about 30 seconds" in warning.value
    assert not at.error and listed(at) == []


@named
def test_what_was_refused_stays_chosen_and_goes_through_when_there_is_room(page, gateway, refusal: MetsegError):
    gateway.refusal = refusal
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    assert "send it again in a moment" in told(at)
    gateway.refusal = None
    at = press(at, "Find lesions")
    assert not at.warning and len(listed(at)) == 1
    assert [entry["names"] for entry in gateway.submissions] == [["a.png"]]


def test_a_full_queue_leaves_the_scans_that_were_taken_before_on_the_page(page, gateway):
    before = submitted(gateway)
    gateway.refusal = QueueFull("50 jobs wait already; submit again when some are done.")
    at = press(upload(page(*before), ("a.png", png())), "Find lesions")
    assert listed(at) == before and at.metric
    assert "The queue is full" in told(at)


def test_an_example_is_refused_in_the_same_words(page, gateway):
    gateway.refusal, gateway.retry_after_s = StorageFull("Too little room is left for this upload."), 60
    at = press(page(), "One large lesion")
    assert "The disk is nearly full" in told(at) and "in about 60 seconds" in told(at)


def test_a_gateway_that_is_cut_off_is_told_soon_and_the_page_goes_on_when_it_is_back(page, study, monkeypatch):
    monkeypatch.setattr(sessions, "TIMEOUT_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        port = silent.getsockname()[1]
        monkeypatch.setenv("METSEG_GATEWAY_URL", f"http://127.0.0.1:{port}")
        settings.cache_clear()
        at = page()
        assert "The gateway does not answer" in told(at) and "goes on by itself" in told(at)
    with serving(FakeGateway(study=study), port):
        run(at)
        assert "does not answer" not in told(at) and "Nested U-Net" in told(at)

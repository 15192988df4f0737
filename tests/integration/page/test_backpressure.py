"""A deployment that has no room: the page says so in words, says when to come back, and loses nothing meanwhile."""

import pytest
from tests.integration.page.visitor import listed, png, press, submitted, told, upload

from metseg import client
from metseg.errors import MetsegError, QueueFull, StorageFull, TooManyRequests

REFUSALS = [
    QueueFull("50 jobs wait already; submit again when some are done."),
    StorageFull("Too little room is left for this upload; delete jobs, or ask the operator to make room."),
    TooManyRequests("You may submit 60 studies a minute; wait a little."),
]
named = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.type.rpartition("/")[2])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The client asks again at once, whatever pause the gateway wishes for."""
    monkeypatch.setattr(client, "LONGEST_PAUSE_S", 0.0)


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

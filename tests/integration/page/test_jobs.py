"""Jobs on the page: progress, failure, deletion, and the list in the URL."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.page.visitor import (
    has_button,
    listed_jobs,
    metrics,
    page_text,
    png,
    press,
    run,
    submit_jobs,
    upload,
    viewer_data,
    watched,
)

from metseg.errors import ProcessingFailed, StoreUnavailable
from metseg_ui.state import gateway as page_gateway


def job_buttons(at):
    """The buttons of the list of jobs."""
    return [button for button in at.sidebar.button if (button.key or "").startswith("job-")]


def statuses(at):
    """The states in that list."""
    return [re.search(r":small\[(.*)\]", button.label)[1] for button in job_buttons(at)]


def test_a_job_is_polled_until_it_is_finished(page, gateway):
    gateway.queued_s = 3600
    [job] = submit_jobs(gateway)
    at = page(job)
    assert "Queued, position 2" in at.main.progress[0].proto.text
    gateway.queued_s, gateway.running_s = 0, 3600
    gateway.accepted_at[job] = datetime.now(UTC)
    assert "Slice 0 of 8" in run(at).main.progress[0].proto.text
    gateway.running_s = 0
    assert run(at).metric


def test_the_browser_waits_for_the_selected_job_until_it_ends(page, gateway):
    gateway.running_s = 3600
    first, second = submit_jobs(gateway, 2)
    at = page(second, first, show=first)
    assert watched(at).endswith(f"/{first}")
    gateway.running_s = 0
    run(at)
    assert viewer_data(at)["job"] == first


def test_no_job_is_waited_for_on_the_start_page(page):
    assert watched(page()) is None


def test_a_final_job_is_not_fetched_again(page, gateway):
    at = page(*submit_jobs(gateway, 2))
    run(at)
    before = len(gateway.requests)
    run(run(at))
    assert gateway.requests[before:] == []


@pytest.mark.parametrize("view", [None, "history", "follow-up"])
@pytest.mark.parametrize("running_s", [0, 3600])
def test_one_request_refreshes_all_jobs(page, gateway, monkeypatch, running_s, view):
    monkeypatch.setattr(page_gateway, "FINAL_JOB_S", 0.0)
    gateway.running_s = running_s
    at = page(*submit_jobs(gateway, 20), view=view)
    gateway.requests.clear()
    run(at)
    states = [call for call in gateway.requests if re.fullmatch("GET /v1/jobs(/[0-9a-f]+)?", call)]
    assert states == ["GET /v1/jobs"]


def test_deleted_jobs_are_told_from_those_of_which_the_gateway_says_nothing(page, gateway):
    kept, deleted, running = submit_jobs(gateway, 3)
    gateway.accepted_at[kept] -= timedelta(hours=2)
    gateway.running_s = 3600
    del gateway.accepted_at[deleted]
    at = page(kept, deleted, running)
    assert statuses(at) == ["Done", "No longer available", "Slice 0 of 8"]
    gateway.outage = StoreUnavailable("The object store does not answer; try again in a minute.")
    assert statuses(run(at)) == ["Done", "Status unknown", "Status unknown"]
    assert viewer_data(at)["job"] == kept


def test_a_reload_lists_the_same_jobs_and_shows_the_selected_one(page, gateway):
    first, second, third = submit_jobs(gateway, 3)
    at = page(third, second, first, show=first)
    assert [button.key for button in job_buttons(at)] == [f"job-{job}" for job in (third, second, first)]
    assert viewer_data(at)["job"] == first


def test_a_scan_keeps_its_name_in_another_session(page, gateway):
    press(upload(page(), ("left_head.png", png())), "Find lesions")
    [entry] = gateway.submissions
    later = page_text(page(entry["id"]))
    assert "left\\_head.png" in later and "Scan of" not in later
    assert "left\\_head.png" in page_text(page(entry["id"], view="history"))


def test_a_scan_without_a_name_is_called_after_its_time(page, gateway):
    assert "Scan of" in page_text(page(*submit_jobs(gateway)))


def test_only_job_ids_in_the_url_are_fetched(page, gateway):
    page("../models", "x", "a/b/c/d/e/f/g", "<script>alert(1)</script>")
    assert not any("jobs" in call for call in gateway.requests)


def test_an_expired_job_is_explained_and_can_be_removed_from_the_list(page, gateway):
    at = page("0123456789abcdef0123456789abcdef")
    assert "no longer available" in page_text(at)
    at = press(at, "Remove from the list")
    assert listed_jobs(at) == []
    assert "no longer available" not in page_text(at)


def test_a_failed_job_shows_its_reason_and_no_stack_trace(page, gateway):
    gateway.failure = ProcessingFailed("The worker ran out of memory; submit fewer slices.")
    at = page(*submit_jobs(gateway))
    assert "The worker ran out of memory; submit fewer slices." in at.error[0].value
    assert "/problems/" not in page_text(at) and "Traceback" not in page_text(at)


def test_a_job_is_deleted_only_after_confirmation_and_leaves_the_list(page, gateway):
    first, second = submit_jobs(gateway, 2)
    at = page(second, first)
    assert set(gateway.accepted_at) == {first, second} and has_button(at, "Delete permanently")
    at = press(at, "Delete permanently")
    assert set(gateway.accepted_at) == {first}
    assert listed_jobs(at) == [first]


def test_figures_of_a_job_that_another_reader_deleted_are_not_shown(page, gateway, monkeypatch):
    monkeypatch.setattr(page_gateway, "FINAL_JOB_S", 0.0)
    [job] = submit_jobs(gateway)
    at = page(job)
    assert metrics(at)
    del gateway.accepted_at[job]
    at = run(at)
    assert not metrics(at)
    assert "no longer available" in page_text(at)
    assert not run(page(job)).metric

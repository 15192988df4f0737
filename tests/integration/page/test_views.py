"""The views other than one scan: welcome, history, admin, sign-in, and errors of the service."""

import socket
import tomllib

import pytest
from tests.fake_gateway import FakeGateway, serving
from tests.integration.page.test_results import add_older_model
from tests.integration.page.visitor import (
    has_button,
    listed_jobs,
    metrics,
    page_text,
    press,
    run,
    submit_jobs,
    viewer_data,
)
from tests.pages import CONFIG

from metseg.client import connection
from metseg.contracts import DISCLAIMER, KeyInfo, Review
from metseg.errors import StoreUnavailable
from metseg.settings import settings
from metseg_ui.state import sessions


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """The client retries at once, whatever pause the gateway asks for."""
    monkeypatch.setattr(connection, "MAX_PAUSE_S", 0.0)


def test_a_visitor_sees_the_model_its_training_data_and_the_disclaimer(page):
    text = page_text(page())
    for expected in (DISCLAIMER, "Nested U-Net", "mean Dice of the whole 0.50", "phantoms", "Apache-2.0"):
        assert expected in text


def test_the_model_card_is_one_click_away(page):
    at = press(page(), "About the model")
    assert "Tests of metseg." in page_text(at) and "It knows nothing of lesions." in page_text(at)
    assert list(at.table[0].value["Mean"]) == ["0.500"]


def test_the_page_says_if_no_model_is_in_service(page, gateway):
    gateway.champion = False
    assert "No model is in service yet" in page_text(page())


def test_the_history_lists_every_job_with_its_outcome_and_leads_to_it(page, gateway):
    first, second = submit_jobs(gateway, 2)
    at = page(view="history")
    at.toggle(key="everyone").set_value(True)
    at = run(at)
    assert page_text(at).count("4 lesions ·") == 2 and f"`{gateway.card.version}`" in page_text(at)
    at.button(key=f"open-{first}").click()
    at = run(at)
    assert viewer_data(at)["job"] == first and listed_jobs(at) == [first]
    assert second not in listed_jobs(at)


def test_without_keys_a_visitor_sees_the_scans_of_the_session_only(page, gateway):
    own, other = submit_jobs(gateway, 2)
    at = page(own, view="history")
    assert "## Your scans" in page_text(at)
    shown = {button.key for button in at.button if (button.key or "").startswith("open-")}
    assert shown == {f"open-{own}"}
    assert f"open-{other}" not in shown


@pytest.mark.parametrize("scopes", [["submit", "read"], ["read", "admin"]])
def test_the_scans_of_a_key_are_its_own_and_an_admin_may_ask_for_all(page, gateway, scopes):
    gateway.keys = {"mine": KeyInfo(name="reader", scopes=scopes)}
    submit_jobs(gateway)
    at = page(view="history")
    at.text_input[0].set_value("mine")
    at = press(at, "Sign in")
    assert "## Your scans" in page_text(at) and has_button(at, "Your scans")
    assert gateway.listed == [False], "the own ones, in one request"
    toggles = [toggle for toggle in at.toggle if toggle.key == "everyone"]
    assert len(toggles) == ("admin" in scopes)
    if toggles:
        toggles[0].set_value(True)
        run(at)
        assert gateway.listed == [False, True]


def test_the_history_asks_once_for_all_its_scans(page, gateway):
    ids = submit_jobs(gateway, 3)
    gateway.put_review(ids[0], Review(), '"0"')
    gateway.requests.clear()
    at = page(*ids, view="history")
    assert page_text(at).count("4 lesions ·") == 3 and page_text(at).count("ml, reviewed") == 1
    asked = [call for call in gateway.requests if call.endswith(("/review", "/result"))]
    assert asked == [] and gateway.requests.count("GET /v1/jobs") == 1


def test_a_job_can_be_deleted_from_the_history(page, gateway):
    first, second = submit_jobs(gateway, 2)
    at = page(first, second, view="history")
    at.button(key=f"delete-{first}").click()
    run(at)
    assert set(gateway.accepted_at) == {second}


def test_visitors_who_share_the_pages_key_do_not_see_each_others_scans(page, gateway, monkeypatch):
    gateway.keys = {"shared": KeyInfo(name="page", scopes=["submit", "read"])}
    monkeypatch.setenv("METSEG_API_KEY", "shared")
    settings.cache_clear()
    submit_jobs(gateway)
    at = page(view="history")
    assert not any((button.key or "").startswith("open-") for button in at.button)
    assert not any(call == "GET /v1/jobs" for call in gateway.requests)


def test_an_admin_rolls_back_only_after_typing_the_word(page, gateway):
    before, other = gateway.card.version, add_older_model(gateway)
    at = page(view="admin")
    assert metrics(at)["Workers"] == "1"
    at.text_input(key=f"word-{other.version}").set_value("yes")
    at = press(at, "Roll back to this version")
    assert "Nothing was changed" in at.error[0].value and gateway.card.version == before
    at.text_input(key=f"word-{other.version}").set_value("roll back")
    at = press(at, "Roll back to this version")
    assert gateway.card.version == other.version


def test_an_admin_reads_outcomes_by_title_not_by_problem_type(page, gateway):
    gateway.outcomes = {"succeeded": 3, "/problems/poisoned-input": 2, "/problems/of-a-later-version": 1}
    at = page(view="admin")
    assert metrics(at)["Succeeded"] == "3 of 6"
    assert "Other problems: 1; The input crashes its workers: 2" in page_text(at)
    assert "/problems/" not in page_text(at)


def test_the_admin_view_is_for_admins_only(page, gateway, monkeypatch):
    gateway.keys = {"mine": KeyInfo(name="reader", scopes=["submit", "read"])}
    monkeypatch.setenv("METSEG_API_KEY", "mine")
    settings.cache_clear()
    at = page(view="admin")
    assert "Models and service" not in page_text(at) and not has_button(at, "Admin")
    assert "GET /v1/overview" not in gateway.requests


def test_a_gateway_with_keys_makes_the_page_ask_for_one_until_sign_out(page, gateway):
    gateway.keys = {"mine": KeyInfo(name="reader", scopes=["submit", "read"])}
    at = page()
    assert "requires an API key" in page_text(at) and not at.error
    at.text_input[0].set_value("wrong")
    at = press(at, "Sign in")
    assert "not known here" in at.error[0].value
    at.text_input[0].set_value("mine")
    at = press(at, "Sign in")
    assert "Find lesions in a brain MRI" in page_text(at)
    assert "mine" not in str(dict(at.query_params))
    at = press(at, "Sign out")
    assert "requires an API key" in page_text(at)


def test_cached_answers_of_one_key_are_not_used_for_another(page, gateway):
    gateway.keys = {name: KeyInfo(name=name, scopes=["submit", "read"]) for name in ("first", "second")}
    [job] = submit_jobs(gateway)

    def fetches_as(key: str) -> int:
        at = page(job)
        at.text_input[0].set_value(key)
        before = len(gateway.requests)
        run(press(at, "Sign in"))
        return len([call for call in gateway.requests[before:] if call.endswith("/result")])

    assert [fetches_as(key) for key in ("first", "first", "second")] == [1, 0, 1]


def test_the_page_recovers_when_the_store_is_back(page, gateway):
    [job] = submit_jobs(gateway)
    gateway.outage = StoreUnavailable("The object store does not answer; try again in a minute.")
    at = page(job)
    assert "temporarily unavailable" in page_text(at) and "continues automatically" in page_text(at)
    assert DISCLAIMER in page_text(at)
    gateway.outage = None
    assert run(at).metric


@pytest.mark.slow
def test_a_gateway_that_is_not_running_is_explained(page, monkeypatch):
    monkeypatch.setenv("METSEG_GATEWAY_URL", "http://127.0.0.1:9")
    settings.cache_clear()
    assert "The gateway does not answer" in page_text(page())


def test_a_gateway_that_does_not_respond_is_reported_soon_and_the_page_recovers(page, study, monkeypatch):
    monkeypatch.setattr(sessions, "TIMEOUT_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never responds
        port = silent.getsockname()[1]
        monkeypatch.setenv("METSEG_GATEWAY_URL", f"http://127.0.0.1:{port}")
        settings.cache_clear()
        at = page()
        assert "The gateway does not answer" in page_text(at) and "continues automatically" in page_text(at)
    with serving(FakeGateway(study=study), port):
        run(at)
        assert "does not answer" not in page_text(at) and "Nested U-Net" in page_text(at)


def test_streamlit_is_configured_as_the_deployment_needs_it():
    config = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    assert config["server"]["enableXsrfProtection"] and config["server"]["headless"]
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"

"""The page beyond one scan: history, comparison, the admin's view, signing in."""

from datetime import timedelta

from tests.fake_gateway import FakeGateway
from tests.integration.page.visitor import listed, press, run, submitted, told, viewer

from metseg.contracts import Holder, ModelCard
from metseg.settings import settings


def other_model(gateway: FakeGateway) -> ModelCard:
    """Another version, older than the one that serves."""
    older = {"version": "20250101-000000-older", "created_at": gateway.card.created_at - timedelta(days=9)}
    gateway.others = [gateway.card.model_copy(update=older)]
    return gateway.others[0]


def test_the_history_lists_every_job_with_what_was_found_and_leads_back_to_it(page, gateway):
    first, second = submitted(gateway, 2)
    at = page(view="history")
    assert told(at).count("4 lesions") == 2 and f"`{gateway.card.version}`" in told(at)
    at.button(key=f"open-{first}").click()
    at = run(at)
    assert viewer(at)["job"] == first and listed(at) == [first]
    assert second not in listed(at)


def test_a_job_can_be_deleted_from_the_history(page, gateway):
    first, second = submitted(gateway, 2)
    at = page(view="history")
    at.button(key=f"delete-{first}").click()
    run(at)
    assert set(gateway.accepted) == {second}


def test_visitors_who_share_the_pages_key_do_not_see_each_others_scans(page, gateway, monkeypatch):
    gateway.keys = {"shared": Holder(name="page", scopes=["submit", "read"])}
    monkeypatch.setenv("METSEG_API_KEY", "shared")
    settings.cache_clear()
    submitted(gateway)
    at = page(view="history")
    assert not any((button.key or "").startswith("open-") for button in at.button)
    assert not any(call == "GET /v1/jobs" for call in gateway.asked)


def test_two_models_are_compared_on_one_scan(page, gateway):
    [job] = submitted(gateway)
    other = other_model(gateway)
    at = press(page(job), "Run it on this scan")
    [again] = [entry["id"] for entry in gateway.submissions if entry["names"] == ["again"]]
    assert gateway.served[again] == other.version
    at = run(at)
    assert viewer(at)["other"]["job"] == again
    shown = {metric.label: metric.value for metric in at.metric}
    first, second = gateway.study, gateway.study.seen_otherwise()
    dice = 2 * (first.mask & second.mask).sum() / (first.mask.sum() + second.mask.sum())
    assert shown["Dice"] == f"{dice:.3f}"
    smallest = gateway.study.result(job, gateway.card).lesions[-1]
    assert f"Only this one marks: lesion {smallest.number} (slice" in told(at)
    assert "Only the other marks: no lesion" in told(at)
    at = press(at, "End the comparison")
    assert viewer(at)["other"] is None


def test_an_admin_rolls_back_only_with_the_typed_word(page, gateway):
    before, other = gateway.card.version, other_model(gateway)
    at = page(view="admin")
    assert {metric.label: metric.value for metric in at.metric}["Workers"] == "1"
    at.text_input(key=f"word-{other.version}").set_value("yes")
    at = press(at, "Roll back to this version")
    assert "Nothing was changed" in at.error[0].value and gateway.card.version == before
    at.text_input(key=f"word-{other.version}").set_value("roll back")
    at = press(at, "Roll back to this version")
    assert gateway.card.version == other.version


def test_the_admin_page_is_for_admins(page, gateway, monkeypatch):
    gateway.keys = {"mine": Holder(name="reader", scopes=["submit", "read"])}
    monkeypatch.setenv("METSEG_API_KEY", "mine")
    settings.cache_clear()
    at = page(view="admin")
    assert "Models and service" not in told(at)
    assert not any(button.label == "Admin" for button in at.button)
    assert "GET /v1/overview" not in gateway.asked


def test_a_gateway_with_keys_asks_the_reader_for_one_and_forgets_it_at_the_end(page, gateway):
    gateway.keys = {"mine": Holder(name="reader", scopes=["submit", "read"])}
    at = page()
    assert "asks for an API key" in told(at) and not at.error
    at.text_input[0].set_value("wrong")
    at = press(at, "Sign in")
    assert "not known here" in at.error[0].value
    at.text_input[0].set_value("mine")
    at = press(at, "Sign in")
    assert "Lesions in a brain MRI" in told(at)
    assert "mine" not in str(dict(at.query_params))
    at = press(at, "Sign out")
    assert "asks for an API key" in told(at)


def test_what_one_key_may_read_is_not_kept_for_another(page, gateway):
    gateway.keys = {name: Holder(name=name, scopes=["submit", "read"]) for name in ("first", "second")}
    [job] = submitted(gateway)

    def read_as(key: str) -> list[str]:
        at = page(job)
        at.text_input[0].set_value(key)
        before = len(gateway.asked)
        run(press(at, "Sign in"))
        return [call for call in gateway.asked[before:] if call.endswith("/result")]

    assert len(read_as("first")) == 1
    assert len(read_as("first")) == 0
    assert len(read_as("second")) == 1

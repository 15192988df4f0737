"""Another site's page reaches no job, by its own name or by the gateway's."""

import json

import pytest
from tests.gateways import Gateway, png, problem, promote_tiny, running

from metseg.settings import Settings

OURS = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "api:8000", "10.1.2.3", "scans.example.org", ""]


@pytest.fixture(scope="module")
def settings(redis, tmp_path_factory):
    return Settings(
        store_directory=tmp_path_factory.mktemp("store"), **redis.settings(), hosts="scans.example.org, two.example"
    )


@pytest.fixture(scope="module")
def gateway(settings):
    with running(settings) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.mark.parametrize("host", OURS)
def test_an_open_gateway_answers_under_its_names(gateway: Gateway, host: str):
    assert gateway.http.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "x.scans.example.org"])
def test_an_open_gateway_does_not_answer_under_a_name_that_another_site_lets_point_to_it(gateway: Gateway, host: str):
    job = gateway.accepted().id
    problem(gateway.http.get("/v1/jobs", headers={"Host": host}), 403, "foreign-request")
    problem(gateway.http.delete(f"/v1/jobs/{job}", headers={"Host": host}), 403, "foreign-request")
    assert gateway.http.get(f"/v1/jobs/{job}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_sites_page_changes_nothing(gateway: Gateway, headers: dict[str, str]):
    job = gateway.accepted().id
    files = {"files": ("1.png", png(1))}
    problem(gateway.http.post("/v1/jobs", files=files, headers=headers), 403, "foreign-request")
    problem(gateway.http.delete(f"/v1/jobs/{job}", headers=headers), 403, "foreign-request")
    assert gateway.http.get(f"/v1/jobs/{job}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "https://two.example"}],
)
def test_programs_and_pages_of_the_site_change_what_they_may(gateway: Gateway, headers: dict[str, str]):
    assert gateway.http.delete(f"/v1/jobs/{gateway.accepted().id}", headers=headers).status_code == 204


def test_with_keys_any_name_is_served(redis, tmp_path):
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{"name": "a", "sha256": "0" * 64, "scopes": ["read"]}]))
    settings = Settings(store_directory=tmp_path / "store", api_keys_file=keys, **redis.settings())
    with running(settings) as gateway:
        answers = [gateway.http.get(url, headers={"Host": "site.example"}) for url in ("/healthz", "/v1/jobs")]
        assert [each.status_code for each in answers] == [200, 401]

"""What the README says is so."""

import re
from pathlib import Path

import yaml

from metseg_api.app import create_app
from metseg_trainer import report

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_results_are_those_that_the_run_wrote():
    [block] = re.findall(r"<!-- results[^>]*-->\n(.*?)<!-- /results -->", README, re.DOTALL)
    assert block == report.markdown(ROOT / "infra/starter-model/results.json")


def test_the_first_command_brings_everything_up():
    first = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[0]
    assert first.strip() == "docker compose up"


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_path_of_the_rest_example_exists():
    said = set(re.findall(r"127\.0\.0\.1:8000(/v1[^\s'?]*)", README))
    known = {re.sub(r"\{\w+\}", "{id}", path) for path in create_app().openapi()["paths"]}
    assert said
    assert said <= known


def test_every_service_that_it_names_is_in_the_compose_file():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    [table] = re.findall(r"\| service \|.*?\n\n", README, re.DOTALL)
    named = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.strip().splitlines()[2:]))
    assert {"ui", "api", "worker", "trainer", "redis", "store"} == set(named) <= services.keys()

"""docs/performance.md and docs/scaling.md show what the benches wrote."""

import json
import re

import pytest
from tests.bench import page, simulate
from tests.bench.latency import depth

SCALING = page.ROOT / "docs/scaling.md"


@pytest.fixture(scope="module")
def parts() -> dict:
    return json.loads(page.FIGURES.read_text())


def test_docs_performance_shows_every_part_of_the_bench(parts):
    [block] = re.findall(f"{page.MARKS[0]}\n(.*?){page.MARKS[1]}", page.PAGE.read_text(), re.DOTALL)
    assert parts.keys() <= page.TITLES.keys()
    assert block == "\n".join(page.shown(name, parts[name]) for name in page.TITLES if name in parts)


@pytest.mark.parametrize("name", ["costs", "scale", "simulation"])
def test_docs_scaling_shows_what_was_measured_and_derived(parts, name):
    [block] = re.findall(rf"<!-- {name}:[^>]*-->\n(.*?)<!-- /{name} -->", SCALING.read_text(), re.DOTALL)
    assert block == simulate.blocks(parts)[name]


def test_a_cores_capacity_follows_from_the_cost_of_a_study():
    cpu = {"redis": 10.0, "store": 100.0, "gateway": 90.0, "worker": 800.0}
    text = simulate.costs({simulate.OURS: {"jobs_per_s": [1.5], "cpu_ms": [cpu]}})
    assert "| store (SeaweedFS) | 100 | 36,000 |" in text
    assert "one worker | 5,400 | measured |" in text
    assert "were ever idle | 7,200 | estimated |" in text


def test_a_queues_growth_is_shown_by_thirds():
    assert depth({"open": [0, 1, 2, 3, 8, 10]}) == "0.5, 2.5, 9.0 open"
    assert depth({"open": [1]}) == "1.0, 0.0, 0.0 open"

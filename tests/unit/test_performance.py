"""The pages of performance and of scaling show what the benches wrote."""

import json
import re

import pytest
from tests.bench import page, simulate
from tests.bench.latency import depth

SCALING = page.ROOT / "docs/scaling.md"


@pytest.fixture(scope="module")
def told() -> dict:
    return json.loads(page.FIGURES.read_text())


def test_the_page_shows_every_part_that_the_bench_wrote(told):
    [block] = re.findall(f"{page.MARKS[0]}\n(.*?){page.MARKS[1]}", page.PAGE.read_text(), re.DOTALL)
    assert told.keys() <= page.TITLES.keys()
    assert block == "\n".join(page.shown(name, told[name]) for name in page.TITLES if name in told)


def test_the_simulation_is_that_of_the_measured_loads(told):
    [block] = re.findall(r"<!-- simulation:[^>]*-->\n(.*?)<!-- /simulation -->", SCALING.read_text(), re.DOTALL)
    assert block == simulate.tables(told["latency"]["figures"])


def test_a_queue_that_grows_is_told_by_its_thirds():
    assert depth({"open": [0, 1, 2, 3, 8, 10]}) == "0.5, 2.5, 9.0 open"
    assert depth({"open": [1]}) == "1.0, 0.0, 0.0 open"

"""The example scans: what an image has stored is what is drawn elsewhere."""

import pytest

from metseg_ui import example_scans
from metseg_ui.example_scans import EXAMPLES, draw, find, write


def test_an_example_that_was_drawn_before_is_the_one_that_is_drawn_on_use(tmp_path, monkeypatch):
    write(tmp_path / "examples")
    drawn = [draw(example) for example in EXAMPLES]
    monkeypatch.setattr(example_scans, "draw", lambda example: pytest.fail("it was drawn again"))
    assert [find(example, tmp_path / "examples") for example in EXAMPLES] == drawn


def test_an_example_is_drawn_where_no_image_has_it(tmp_path):
    assert find(EXAMPLES[0], tmp_path / "missing") == draw(EXAMPLES[0])

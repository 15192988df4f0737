"""Ids that tell whose a job is."""

import re

from hypothesis import given
from hypothesis import strategies as some

from metseg.jobs.ids import NOBODY, new_id, owner, tag


@given(some.text(min_size=1))
def test_an_id_tells_its_owner_and_nobody_elses_name(name):
    made = new_id(tag(name))
    assert re.fullmatch("[0-9a-f]{12}7[0-9a-f]{19}", made)
    assert owner(made) == tag(name) != tag(f"{name} ")


def test_ids_without_an_owner_are_nobodys():
    assert owner(new_id()) == NOBODY


def test_ids_differ_and_sort_by_the_time_they_were_made():
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert [one[:12] for one in made] == sorted(one[:12] for one in made)

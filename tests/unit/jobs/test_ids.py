"""A job's id contains its owner's tag and its time."""

import re

from hypothesis import given
from hypothesis import strategies as some

from metseg.jobs import ANONYMOUS, new_job_id, owner_of, owner_tag


@given(some.text(min_size=1))
def test_an_id_contains_only_its_owners_tag(name):
    made = new_job_id(owner_tag(name))
    assert re.fullmatch("[0-9a-f]{12}7[0-9a-f]{19}", made)
    assert owner_of(made) == owner_tag(name) != owner_tag(f"{name} ")


def test_ids_without_an_owner_are_anonymous():
    assert owner_of(new_job_id()) == ANONYMOUS


def test_ids_differ_and_sort_by_the_time_they_were_made():
    made = [new_job_id() for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert [one[:12] for one in made] == sorted(one[:12] for one in made)

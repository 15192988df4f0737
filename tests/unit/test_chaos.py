"""The pure parts of `make chaos`: what its scenarios send, and how it reads what they caused."""

import io

import pytest
from tests.chaos.__main__ import SCENARIOS
from tests.chaos.attacks import heavy_dicom, largest_nifti, upload_head
from tests.chaos.site import parse_oom_kills

from metseg.formats import Upload, inspect_upload
from metseg.settings import Limits


def test_titles_of_scenarios_are_distinct():
    assert len({each.title for each in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize(
    "title",
    [
        *(f"redis hangs for {seconds} s" for seconds in (7, 20, 60)),
        "the clock of worker is 8 days ahead",
        "the records of one job are damaged, and Redis is flushed",
        "the largest study, with the memory that compose allows",
        "24 uploads of one key with 130,000 elements each",
        "700 idle and slow connections",
    ],
)
def test_each_attack_that_succeeded_once_is_a_scenario(title):
    assert title in [each.title for each in SCENARIOS]


def test_a_header_with_many_elements_is_a_slice():
    study = inspect_upload([Upload("a.dcm", io.BytesIO(heavy_dicom(1000)))], Limits())
    assert (study.source, study.slices) == ("dicom", 1)
    assert len(heavy_dicom(1000)) - len(heavy_dicom(0)) == 10_000


def test_the_largest_study_is_within_the_limits():
    study = inspect_upload([Upload("a.nii.gz", io.BytesIO(largest_nifti((6, 64, 64))))], Limits())
    assert study[:4] == ("nifti", 6, 64, 64)


def test_the_head_of_an_upload_ends_where_its_body_begins():
    assert upload_head(7).endswith(b"Content-Length: 7\r\n\r\n")


def test_kills_for_memory_are_counted():
    assert parse_oom_kills("low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0") == 2

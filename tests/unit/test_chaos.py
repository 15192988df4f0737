"""The pure parts of `make chaos`: what its scenarios send, and how it reads what they caused."""

import io

import numpy as np
import pytest
from tests.chaos.__main__ import SCENARIOS, Row, merged, table
from tests.chaos.attacks import LARGEST, fitting_slices, heavy_dicom, largest_nifti, upload_head
from tests.chaos.keeper import Verdict
from tests.chaos.site import parse_oom_kills

from metseg.errors import StudyTooLarge
from metseg.formats import Upload, inspect_upload
from metseg.imaging import check_fits
from metseg.settings import Limits

GIB = 2**30


def test_titles_of_scenarios_are_distinct():
    assert len({each.title for each in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize(
    "title",
    [
        *(f"redis hangs for {seconds} s" for seconds in (7, 20, 60)),
        *(f"the clock of {service} is 8 days {way}" for service in ("api", "worker") for way in ("ahead", "behind")),
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


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_the_largest_study_is_a_volume_within_the_limits(dtype):
    study = inspect_upload([Upload("a.nii.gz", io.BytesIO(largest_nifti((6, 64, 64), dtype)))], Limits())
    assert study[:4] == ("nifti", 6, 64, 64)
    assert np.prod(LARGEST) <= Limits().volume_pixels and LARGEST[0] <= Limits().slices


def test_the_largest_study_with_uncertainty_just_fits_into_the_workers_memory():
    fitting = fitting_slices((64, 512, 512), GIB)
    size = inspect_upload([Upload("a.nii.gz", io.BytesIO(largest_nifti((fitting, 512, 512))))], Limits()).size
    check_fits(size, GIB, uncertainty=True)
    one_more = size.__class__(**{**vars(size), "shape": (fitting + 1, 512, 512)})
    with pytest.raises(StudyTooLarge):
        check_fits(one_more, GIB, uncertainty=True)


def test_several_runs_are_a_row_with_their_sums_and_the_longest_recovery():
    [hung] = [each for each in SCENARIOS if each.title == "redis hangs for 20 s"]
    runs = [Row(hung, Verdict(9, 8, 1, 0, 0, ("/problems/a",)), 3.0), Row(hung, Verdict(9, 9, 0, 0, 0, ()), 7.4)]
    row = merged(runs)
    assert row.kept
    assert "| redis hangs for 20 s, 2 runs | 18 | 17 | 1 | 0 | 0 | 7 | /problems/a |" in table([row], 60)
    assert not merged([*runs, Row(hung, Verdict(9, 9, 0, 0, 0, ()), 31.0, "recovery took 31 s")]).kept


def test_a_hung_redis_must_recover_within_half_a_minute():
    limits = {each.recovery_limit_s for each in SCENARIOS if each.title.startswith("redis hangs")}
    assert limits == {30}


def test_the_head_of_an_upload_ends_where_its_body_begins():
    assert upload_head(7).endswith(b"Content-Length: 7\r\n\r\n")


@pytest.mark.parametrize(
    "events",
    ["low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0", "oom_kill_disable 0\nunder_oom 0\noom_kill 2"],
)
def test_kills_for_memory_are_counted_under_both_versions_of_cgroups(events):
    assert parse_oom_kills(events) == 2

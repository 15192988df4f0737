"""What a study takes of a worker's memory is known before it is read."""

from dataclasses import replace

import pytest

from metseg.errors import StudyTooLarge
from metseg.imaging import StudySize, check_fits, peak_bytes

WORKER = 4 * 2**30
"""As compose limits it."""
LARGEST_GREY = StudySize((1020, 512, 512), itemsize=4, decoded=1, channels=1, spacing_mm=(1.0, 0.5, 0.5))


def test_the_largest_study_of_one_sequence_fits_into_the_worker_of_compose():
    check_fits(LARGEST_GREY, WORKER, uncertainty=False)


def test_a_study_that_does_not_fit_is_refused_with_its_need_the_limit_and_what_to_do():
    with pytest.raises(StudyTooLarge) as refused:
        check_fits(replace(LARGEST_GREY, decoded=3, channels=3), WORKER, uncertainty=False)
    assert "1020 slices of 512 x 512" in refused.value.detail
    assert "6.7 GiB of memory" in refused.value.detail
    assert "the worker has 4.0 GiB" in refused.value.detail
    assert "without uncertainty" not in refused.value.detail


def test_a_study_that_fits_without_uncertainty_is_refused_with_that_hint():
    with pytest.raises(StudyTooLarge, match="without uncertainty, or with fewer or smaller slices"):
        check_fits(LARGEST_GREY, WORKER, uncertainty=True)


@pytest.mark.parametrize(
    "larger",
    [
        {"shape": (1020, 512, 520)},
        {"itemsize": 8},
        {"decoded": 3, "channels": 3},
        {"spacing_mm": (1.0, 1.0, 1.0)},
    ],
    ids=str,
)
def test_more_of_anything_takes_more(larger):
    size = replace(LARGEST_GREY, itemsize=2)
    assert peak_bytes(replace(size, **larger), uncertainty=False) > peak_bytes(size, uncertainty=False)
    assert peak_bytes(size, uncertainty=True) > peak_bytes(size, uncertainty=False)

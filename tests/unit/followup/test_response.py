"""Response by the rules of RANO-BM (Lin et al., Lancet Oncol 2015), on scripted courses."""

from datetime import date, timedelta

import pytest
from tests.visits import Scanner, scan, time_point

from metseg.contracts import TrackMeasurement
from metseg.followup.response import assess
from metseg.followup.tracks import Track

[LESION] = time_point(scan([((0.0, 0.0, 0.0), 10.0)], Scanner(size_mm=(30, 40, 40)))).result.lesions
START = date(2026, 1, 5)


def _track(number, diameters, *, target=True, state="stable", slices=3):
    """A track of these long diameters: None before it appears, 0 where it is gone."""
    track = Track(number, target, (0, LESION))
    for index, diameter in enumerate(diameters):
        if diameter is None:
            track.measurements.append(None)
            continue
        appears = index and diameters[index - 1] in (None, 0)
        now = None if not index else "gone" if diameter == 0 else "new" if appears else state
        track.measurements.append(
            TrackMeasurement(
                lesion=number if diameter else None,
                state=now,
                target=target,
                volume_mm3=diameter**3,
                long_diameter_mm=diameter,
                slices=slices,
            )
        )
    return track


def _responses(*tracks, days=35):
    dates = [START + timedelta(days=days * index) for index in range(len(tracks[0].measurements))]
    return [one.proposal for one in assess(tracks, dates, "core")][1:]


COURSES = {
    "stable": ([[20, 21, 19]], ["stable", "stable"]),
    "a decrease of 29% is stable": ([[20, 14.2]], ["stable"]),
    "a decrease of 30% is a partial response": ([[20, 14]], ["partial"]),
    "an increase of 20% and of 5 mm is progression": ([[25, 30]], ["progressive"]),
    "an increase of 20% but of less than 5 mm is none": ([[20, 24.5]], ["stable"]),
    "5 mm but less than 20% is none": ([[40, 45]], ["stable"]),
    "growth counts from the nadir, not from the baseline": ([[30, 20, 25]], ["partial", "progressive"]),
    "two lesions that grow 3 mm each are no progression": ([[12, 15], [12, 15]], ["stable"]),
    "one lesion that grows 5 mm while the sum grows 20% is": ([[15, 20.5], [10, 10]], ["progressive"]),
    "the sum decides: one grows 5 mm, another shrinks": ([[15, 20], [20, 15]], ["stable"]),
    "all gone is complete": ([[20, 0], [12, 0]], ["complete"]),
    "after a complete response a lesion returns": ([[20, 0, 8]], ["complete", "progressive"]),
    "response, then stable above the nadir": ([[20, 12, 13]], ["partial", "partial"]),
    "back between the limits": ([[20, 13.5, 15]], ["partial", "stable"]),
}


@pytest.mark.parametrize("course", COURSES)
def test_targets_decide(course):
    diameters, expected = COURSES[course]
    tracks = [_track(number, one) for number, one in enumerate(diameters, start=1)]
    assert [one.response for one in _responses(*tracks)] == expected


def test_a_new_lesion_is_progression_and_stays_it():
    first, second = _responses(_track(1, [20, 14, 13]), _track(2, [None, 6, 6], target=False))
    assert (first.response, second.response) == ("progressive", "progressive")
    assert "new since the first study: lesion 2 (6.0 mm)" in first.reasons


@pytest.mark.parametrize(("length", "slices"), [(4, 3), (7, 1)])
def test_a_new_lesion_of_doubt_is_left_to_the_reader(length, slices):
    [one] = _responses(_track(1, [20, 14]), _track(2, [None, length], target=False, slices=slices))
    assert one.response == "partial"
    assert any("lesion 2" in words and "that would be progression" in words for words in one.unknown)


def test_complete_needs_that_no_other_lesion_is_left():
    [one] = _responses(_track(1, [20, 0]), _track(2, [6, 6], target=False))
    assert one.response == "partial"


def test_growth_of_non_targets_is_left_to_the_reader():
    [one] = _responses(_track(1, [20, 20]), _track(2, [6, 9], target=False, state="grown"))
    assert one.response == "stable"
    assert any("non-target lesion 2" in words for words in one.unknown)


def test_a_response_is_confirmed_after_four_weeks():
    course = [20, 13, 12, 0, 0]
    assert [one.confirmed for one in _responses(_track(1, course), days=14)] == [False, False, False, False]
    assert [one.confirmed for one in _responses(_track(1, course), days=28)] == [False, True, False, True]
    undated = assess([_track(1, [20, 13])], [None, None], "core")[1].proposal
    assert (undated.response, undated.confirmed) == ("partial", None)


def test_without_a_target_there_is_no_sum_and_no_response_but_progression():
    [one] = _responses(_track(1, [8, 8], target=False))
    assert one.response is None
    assert "no target lesion" in one.reasons[0]
    [other] = _responses(_track(1, [8, 8], target=False), _track(2, [None, 9], target=False))
    assert other.response == "progressive"


def test_what_no_outline_shows_is_always_named():
    [one] = _responses(_track(1, [20, 14]))
    assert any("corticosteroids" in words for words in one.unknown)
    assert any("clinical status" in words for words in one.unknown)


def test_flair_abnormalities_have_no_response():
    [_, after] = assess([_track(1, [20, 40], target=False)], [None, None], "whole")
    assert (after.sum_mm, after.proposal.response) == (None, None)
    assert "measures enhancing tumour" in after.proposal.reasons[0]


def test_an_uncovered_target_leaves_no_sum():
    track = _track(1, [20, 20])
    track.measurements[1] = track.measurements[1].model_copy(update={"state": "uncovered", "long_diameter_mm": None})
    [one] = _responses(track)
    assert one.response is None
    assert "not in this scan" in one.reasons[0]

"""A follow-up from scans to response, with nothing known of how the head lay."""

from datetime import date

import numpy as np
import pytest
from tests.visits import Scanner, registration_error_mm, scan, time_point

from metseg.errors import NotComparable
from metseg.followup import check_comparable, compare_studies

A, B, C, D = (30.0, 20.0, 10.0), (-30.0, -20.0, 20.0), (-20.0, 40.0, 30.0), (25.0, -40.0, 25.0)
SCANNERS = [
    Scanner(),
    Scanner((3, -2, 5), (5, -4, 6), noise=6, bias=0.3, spacing_mm=(2.0, 1.0, 1.0)),
    Scanner((-6, 5, -8), (-9, 12, -5), noise=4, bias=-0.2, gain=0.7),
]
COURSE = [
    [(A, 16.0), (B, 11.0), (C, 5.0)],
    [(A, 9.0), (B, 8.0), (C, 5.0)],
    [(A, 16.0), (B, 8.0), (D, 9.0)],
]


@pytest.mark.slow
def test_three_visits_from_pixels_to_response():
    dates = [date(2026, 1, 5), date(2026, 2, 9), date(2026, 3, 9)]
    studies = [
        time_point(scan(balls, scanner, seed), taken_on)
        for seed, (balls, scanner, taken_on) in enumerate(zip(COURSE, SCANNERS, dates, strict=True))
    ]
    found = compare_studies(studies)
    for scanner, study in zip(SCANNERS[1:], found.studies[1:], strict=True):
        assert registration_error_mm(np.array(study.registration.from_first), SCANNERS[0], scanner) < 1
        assert study.registration.disagreement_mm < 1
    states = [[one and one.state for one in track.measurements[1:]] for track in found.tracks]
    assert states == [["shrunk", "grown"], ["shrunk", "stable"], ["stable", "gone"], [None, "new"]]
    volume = found.tracks[0].measurements[1].volume_mm3
    assert volume == pytest.approx(np.pi / 6 * 9**3, rel=0.1)
    assert [study.response and study.response.response for study in found.studies] == [None, "partial", "progressive"]
    assert found.studies[2].sum_nadir_mm == found.studies[1].target_diameter_sum_mm
    assert found.warnings == []


def test_studies_that_cannot_be_compared_are_refused_in_words():
    plain = time_point(scan([(A, 10.0)], SCANNERS[0])).result
    whole = plain.model_copy(update={"structure": "whole"})
    flat = plain.model_copy(update={"grid": None})
    days = [date(2026, 1, 5), date(2026, 2, 9)]
    for results, dates, patients, words in (
        ([plain, plain], days, ["a", "b"], "different patients"),
        ([plain, plain], days[::-1], [None, None], "order of their dates"),
        ([plain, flat], days, ["a", None], "Study 2 has no position"),
        ([plain, whole], days, ["a", "a"], "core is not known of study 2"),
        ([plain, plain.model_copy(update={"shape": (2, 160, 160)})], days, ["a", "a"], "2 slices"),
    ):
        with pytest.raises(NotComparable, match=words):
            check_comparable(results, dates, patients)
    check_comparable([plain, plain], [None, days[0]], ["a", None])

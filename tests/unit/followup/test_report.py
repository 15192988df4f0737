"""The printed report of a follow-up, and where it looks for a lesion at each date."""

import io
import re
from contextlib import closing
from datetime import date

import numpy as np
import pytest
from tests.followed import AFTER, BEFORE, A, B, outcome
from tests.visits import scan

from metseg.contracts import FollowedStudy, FollowUpResult, LesionTrack, TrackMeasurement, VisitRegistration
from metseg.followup import FinishedFollowUp, locate_lesion, render_follow_up_report
from metseg.followup.chart import draw_chart
from metseg.results import SLICE_ARCHIVE, SliceArchive

DAYS = (date(2026, 1, 5), date(2026, 4, 6))
MOTION = AFTER.motion @ np.linalg.inv(BEFORE.motion)


class Job:
    """A finished job in memory."""

    def __init__(self, job_id, visit):
        self._result, self._artefacts = outcome(job_id, visit)

    def result(self):
        return self._result

    def open_artefact(self, name):
        return closing(io.BytesIO(self._artefacts[name]))

    def slice_png(self, index):
        return SliceArchive(io.BytesIO(self._artefacts[SLICE_ARCHIVE])).read_slice(index)


def _measured(lesion, state=None):
    return TrackMeasurement(
        lesion=lesion.number,
        state=state,
        target=True,
        volume_mm3=lesion.volume_mm3,
        long_diameter_mm=lesion.long_diameter_mm,
        centroid_mm=lesion.centroid_mm,
        largest_slice=lesion.largest_slice,
    )


GONE = TrackMeasurement(lesion=None, state="gone", target=True, volume_mm3=0, long_diameter_mm=0)


@pytest.fixture(scope="module")
def jobs():
    """One lesion grows, one goes."""
    return [Job("1" * 32, scan([(A, 14.0), (B, 10.0)], BEFORE)), Job("2" * 32, scan([(A, 20.0)], AFTER))]


@pytest.fixture(scope="module")
def result(jobs):
    before, after = (job.result().lesions for job in jobs)
    registration = VisitRegistration(
        moved_mm=6, turned_degrees=5, disagreement_mm=0.3, from_first=[tuple(row) for row in MOTION.tolist()]
    )
    studies = [
        FollowedStudy(job_id=f"{place}" * 32, taken_on=day, model_version="m", lesions=2, volume_mm3=1000.0)
        for place, day in enumerate(DAYS, start=1)
    ]
    studies[1] = studies[1].model_copy(update={"registration": registration, "lesions": 1})
    tracks = [
        LesionTrack(track=1, target=True, measurements=[_measured(before[0]), _measured(after[0], "grown")]),
        LesionTrack(track=2, target=True, label="<b>left", measurements=[_measured(before[1]), GONE]),
    ]
    return FollowUpResult(structure="core", studies=studies, tracks=tracks, warnings=["a <warning>"], durations_s={})


def test_a_lesion_that_is_gone_is_looked_for_where_it_would_be(result):
    found = locate_lesion(result, 1, result.tracks[1])
    expected = AFTER.motion @ [*B, 1]
    assert np.linalg.norm(np.subtract(found, expected[:3])) < 2


def test_the_report_has_a_picture_of_each_target_at_each_date_and_loads_nothing(result, jobs):
    target = io.BytesIO()
    render_follow_up_report(FinishedFollowUp("3" * 32, None, result, jobs), target)
    page = target.getvalue().decode()
    assert page.count('<img src="data:image/webp') == 4
    assert re.findall(r"2026-04-06, slice (\d+)", page)[0] == str(jobs[1].result().lesions[0].largest_slice + 1)
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(http|//)", page) and "<script" not in page
    assert "&lt;b&gt;left" in page and "a &lt;warning&gt;" in page


def test_the_chart_is_to_scale_in_time_and_length(result):
    track = result.tracks[0]
    days = [date(2026, 1, 1), date(2026, 1, 11), date(2026, 1, 31)]
    lengths = (10.0, 20.0, 5.0)
    measured = [track.measurements[0].model_copy(update={"long_diameter_mm": length}) for length in lengths]
    chart = draw_chart(["a", "b", "c"], days, [track.model_copy(update={"measurements": measured})])
    xs, ys = zip(*chart.lines[0].dots, strict=True)
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(1 / 3, abs=0.01)
    zero, top = chart.ticks[0].y, chart.ticks[-1]
    px_per_mm = (zero - top.y) / float(top.text)
    assert [(zero - y) / px_per_mm for y in ys] == pytest.approx(lengths, abs=0.1)
    evenly = draw_chart(["a", "b", "c"], [None, *days[1:]], []).dates
    assert evenly[1].x - evenly[0].x == pytest.approx(evenly[2].x - evenly[1].x, abs=0.2)

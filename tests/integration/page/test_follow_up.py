"""The view that compares scans: what it submits, and what it shows of the answer."""

import json

import numpy as np
from tests.fake_gateway import FOLLOW_UP_ID
from tests.integration.page.visitor import has_button, metrics, page_text, press, run, submit_jobs, watched

from metseg.contracts import FollowedStudy, FollowUpResult, LesionTrack, ResponseProposal, TrackMeasurement


def _measured(lesion, state, diameter, volume, **changes):
    return TrackMeasurement(
        lesion=lesion,
        state=state,
        target=True,
        volume_mm3=volume,
        long_diameter_mm=diameter,
        centroid_mm=(0, 0, 0),
        largest_slice=3 if lesion else None,
        **changes,
    )


def _result(jobs):
    proposal = ResponseProposal(
        response="partial", reasons=["sum of target diameters 9.0 mm, -40% from the first study"], unknown=["the dose"]
    )
    studies = [FollowedStudy(job_id=job, model_version="m", lesions=1, volume_mm3=1000) for job in jobs]
    studies[1] = studies[1].model_copy(update={"response": proposal, "target_diameter_sum_mm": 9.0})
    shrunk = _measured(1, "shrunk", 9.0, 400.0, volume_change_mm3=-600.0, volume_change_percent=-60.0)
    track = LesionTrack(track=1, target=True, measurements=[_measured(1, None, 15.0, 1000.0), shrunk])
    return FollowUpResult(structure="core", studies=studies, tracks=[track], warnings=[], durations_s={})


def test_two_opened_scans_are_compared(page, gateway):
    jobs = submit_jobs(gateway, 2)
    gateway.followed_result = _result(jobs)
    at = press(page(*jobs, view="follow-up"), "Compare")
    assert sorted(gateway.followed) == sorted(jobs)
    assert metrics(at)["Proposed for study 2"] == "Partial response"
    assert metrics(at)["Sum of target diameters"] == "9.0 mm"
    [table] = at.dataframe
    [row] = table.value.to_dict("records")
    assert row["study 2"] == "9.0 mm, 0.40 ml shrunk"
    assert (row["Change, ml"], row["Change, %"]) == ("-0.60", "-60")
    text = page_text(at)
    assert "-40% from the first study" in text
    assert "Not known: the dose" in text


def test_the_scans_of_a_patient_are_chosen_in_the_order_of_their_dates(page, gateway):
    days = {"2026-04-06": "p-7", "2026-01-05": "p-7", "2026-02-01": "p-8", "2026-03-01": None}
    jobs = {day: gateway.submit(["slice.png"], None, patient=patient, taken_on=day).id for day, patient in days.items()}
    gateway.followed_result = _result([jobs["2026-01-05"], jobs["2026-04-06"]])
    at = page(*jobs.values(), view="follow-up")
    assert at.selectbox[0].value == "p-7"
    at = press(at, "Compare")
    assert gateway.followed == [jobs["2026-01-05"], jobs["2026-04-06"]]
    [pair] = [json.loads(one.proto.json) for one in at.get("bidi_component")]
    assert [side["measured"] for side in pair["studies"]] == ["15.0 mm, 1.00 ml", "9.0 mm, 0.40 ml shrunk"]
    assert np.allclose(pair["motion"], np.eye(4)[:3]) and pair["jump"] == {"serial": 1, "mm": [0, 0, 0], "slice": 3}
    assert at.query_params["follow-up"]


def test_the_view_waits_for_a_comparison_that_runs(page, gateway):
    jobs = submit_jobs(gateway, 2)
    at = press(page(*jobs, view="follow-up"), "Compare")
    assert "Comparing the scans: running" in page_text(at)
    assert watched(at).endswith(f"/follow-ups/{FOLLOW_UP_ID}")
    gateway.followed_result = _result(jobs)
    assert metrics(run(at)) and watched(at) is None


def test_one_scan_has_nothing_to_be_compared_with(page, gateway):
    [job] = submit_jobs(gateway)
    assert not has_button(page(job), "Follow-up")
    assert "two or more finished scans" in page_text(page(job, view="follow-up"))

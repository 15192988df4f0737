"""The result of a scan: viewer, table of lesions, downloads, comparison of two models."""

from datetime import timedelta

import numpy as np
from tests.fake_gateway import FakeGateway
from tests.fake_study import FakeStudy
from tests.integration.page.visitor import metrics, page_text, press, run, submit_jobs, viewer_data, watched

from metseg.contracts import IdentifiedSequence, LesionDecision, ModelCard, Review
from metseg.errors import UnknownSequence


def add_older_model(gateway: FakeGateway) -> ModelCard:
    older = {"version": "20250101-000000-older", "created_at": gateway.card.created_at - timedelta(days=9)}
    gateway.others = [gateway.card.model_copy(update=older)]
    return gateway.others[0]


def test_the_first_slice_shown_is_the_largest_of_the_largest_lesion(page, gateway):
    [job] = submit_jobs(gateway)
    largest = gateway.study.result(job, gateway.card).lesions[0].largest_slice
    assert viewer_data(page(job))["slice"] == largest


def test_the_table_lists_every_lesion_and_the_viewer_knows_their_slices(page, gateway):
    [job] = submit_jobs(gateway)
    at = page(job)
    result = gateway.study.result(job, gateway.card)
    numbers = [lesion.number for lesion in result.lesions]
    assert list(at.dataframe[0].value["No."]) == numbers
    data = viewer_data(at)
    assert data["lesionsBySlice"] == [one.lesions for one in result.slices]
    assert [lesion["number"] for lesion in data["lesions"]] == numbers


def test_the_viewer_offers_the_sequences_of_the_scan(page, gateway):
    [job] = submit_jobs(gateway)
    assert viewer_data(page(job))["channels"] == [["pre", "Pre"], ["flair", "FLAIR"], ["post", "Post"]]


def test_a_single_grey_image_is_one_sequence_in_every_slice(page, gateway):
    gateway.identified = {"post": IdentifiedSequence(by="name")}
    assert viewer_data(page(*submit_jobs(gateway)))["channels"] == [["flair", "Image"]]


def test_a_reviewed_result_says_by_whom_and_shows_labels(page, gateway):
    [job] = submit_jobs(gateway)
    assert viewer_data(page(job))["review"]["text"] == "Not reviewed"
    lesions = gateway.study.result(job, gateway.card).lesions
    decisions = [
        LesionDecision(voxel=lesions[0].peak, label="left *frontal*"),
        LesionDecision(voxel=lesions[-1].peak, decision="reject"),
    ]
    gateway.put_review(job, Review(lesions=decisions), '"0"')
    at = page(job)
    assert "Reviewed by ward, " in page_text(at)
    assert list(at.dataframe[0].value["Label"]) == ["left *frontal*", *[""] * (len(lesions) - 2)]
    data = viewer_data(at)
    assert data["review"]["number"] == 1
    assert [lesion["peak"] for lesion in data["review"]["rejected"]] == [list(lesions[-1].peak)]


def test_the_viewer_knows_the_rule_of_the_mask_and_what_its_parts_are_called(page, gateway):
    [job] = submit_jobs(gateway)
    data, result = viewer_data(page(job)), gateway.study.result(job, gateway.card)
    rule = result.structures[result.structure]
    assert (data["threshold"], data["seedThreshold"]) == (round(rule.threshold, 2), round(rule.seed_threshold, 2))
    assert data["minVoxels"] == rule.min_voxels
    assert (data["finding"], data["findings"]) == (result.finding, result.findings)
    assert data["channel"] == ("post" if result.structure == "core" else "flair")


def test_pixels_do_not_pass_through_the_session(page, gateway):
    [job] = submit_jobs(gateway)
    run(page(job))
    calls = [call for call in gateway.requests if job in call]
    assert any(call.endswith("/result") for call in calls)
    assert not any(kind in call for call in calls for kind in ("/mask", "/volume/", "/probability", "/slice/"))


def test_every_format_can_be_downloaded(page, gateway):
    at = page(*submit_jobs(gateway))
    assert [button.label for button in at.get("download_button")] == ["Result, JSON"]
    assert [link.label for link in at.get("link_button")] == [
        "Core mask, NIfTI",
        "Label map, NIfTI",
        "Masks, ZIP",
        "Mask, NIfTI",
        "Mask, TIFF",
        "Lesions, CSV",
        "Report to print, HTML",
        "Outlined slices, ZIP",
        "Animation, WebP",
        "Probability, NIfTI",
        "Lesion numbers, NIfTI",
    ]


def test_a_dicom_scan_has_contours_with_a_margin_if_there_are_targets(page, gateway):
    gateway.dicom = True
    at = page(*submit_jobs(gateway))
    assert at.number_input[0].label == "Margin of a PTV, mm"
    assert at.get("link_button")[-1].label == "Contours, DICOM RTSTRUCT"
    assert "check each of them" in page_text(at)
    at.number_input[0].set_value(2.5)
    assert run(at).get("link_button")[-1].label == "Contours with 2.5 mm, DICOM RTSTRUCT"


def test_warnings_of_the_result_are_shown(page, gateway):
    gateway.warnings = ["The image is grey; it was copied to all sequences."]
    assert "copied to all sequences" in page(*submit_jobs(gateway)).warning[0].value


def test_a_scan_without_lesions_is_not_called_healthy(page, gateway):
    study = FakeStudy(slices=8)
    study.mask = np.zeros_like(study.mask)
    gateway.study = study
    assert "That does not mean that there are none" in page_text(page(*submit_jobs(gateway)))


def test_a_single_slice_can_be_downloaded_as_png(page, gateway):
    single = FakeStudy(slices=8)
    index = int(single.mask.sum(axis=(1, 2)).argmax())
    single.pixels, single.mask, single.probability = (
        part[index : index + 1] for part in (single.pixels, single.mask, single.probability)
    )
    single.names = ("only",)
    gateway.study = single
    at = page(*submit_jobs(gateway))
    assert viewer_data(at)["sliceCount"] == 1
    assert "Mask, PNG" in [link.label for link in at.get("link_button")]


def test_two_models_are_compared_on_one_scan(page, gateway):
    [job] = submit_jobs(gateway)
    other = add_older_model(gateway)
    at = press(page(job), "Run on this scan")
    [compared] = [entry["id"] for entry in gateway.submissions if entry["names"] == ["again"]]
    assert gateway.model_versions[compared] == other.version
    at = run(at)
    assert viewer_data(at)["second"]["volumes"].endswith(compared)
    first, second = gateway.study, gateway.study.as_other_model_sees_it()
    dice = 2 * (first.mask & second.mask).sum() / (first.mask.sum() + second.mask.sum())
    assert metrics(at)["Dice"] == f"{dice:.3f}"
    smallest = gateway.study.result(job, gateway.card).lesions[-1]
    assert f"Marked only by this model: lesion {smallest.number} (slice" in page_text(at)
    assert "Marked only by the other model: none" in page_text(at)
    at = press(at, "End comparison")
    assert viewer_data(at)["second"] is None


def test_the_browser_waits_for_the_job_of_the_other_model(page, gateway):
    [job] = submit_jobs(gateway)
    gateway.accepted_at[job] -= timedelta(hours=2)
    gateway.running_s = 3600
    add_older_model(gateway)
    at = press(page(job), "Run on this scan")
    assert watched(at).endswith(f"/{gateway.submissions[-1]['id']}")
    assert "Other model: Slice 0 of 8" in page_text(at)
    gateway.running_s = 0
    assert "Dice" in metrics(run(at)) and watched(at) is None


def test_a_single_image_can_be_submitted_again_as_another_sequence(page, gateway):
    gateway.identified = {"flair": IdentifiedSequence(by="recognised", probability=0.99)}
    at = page(*submit_jobs(gateway))
    assert "recognised by its pixels" in page_text(at)
    [other] = [box for box in at.selectbox if box.label == "If it is another sequence"]
    assert other.options == ["Pre-contrast T1", "Post-contrast T1"]
    other.set_value("post")
    press(run(at), "Segment again")
    assert gateway.submissions[-1]["sequence"] == "post"


def test_sequences_that_were_taken_for_one_another_can_be_exchanged(page, gateway):
    gateway.identified = {role: IdentifiedSequence(by="name") for role in ("flair", "post")}
    at = page(*submit_jobs(gateway))
    button = "Segment again with these sequences"
    taken = {box.label: box for box in at.selectbox if box.label.startswith("Taken for")}
    assert list(taken) == ["Taken for FLAIR; it is", "Taken for Post-contrast T1; it is"]
    assert next(one for one in at.button if one.label == button).disabled, "nothing is changed"
    taken["Taken for FLAIR; it is"].set_value("post")
    at = run(at)
    assert "Two images cannot be the same sequence" in page_text(at)
    next(box for box in at.selectbox if box.label == "Taken for Post-contrast T1; it is").set_value("flair")
    press(run(at), button)
    assert gateway.submissions[-1]["exchanged"] == {"flair": "post", "post": "flair"}


def test_an_image_that_is_not_recognised_can_be_submitted_again_with_its_sequence(page, gateway):
    gateway.failure = UnknownSequence("It is not clear which sequence the image a.png is.")
    at = page(*submit_jobs(gateway))
    assert "which sequence the image a.png is" in at.error[0].value
    press(at, "Segment again")
    assert gateway.submissions[-1]["sequence"] == "pre"

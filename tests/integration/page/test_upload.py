"""A scan on the page: sent, watched, seen and taken along."""

import tomllib
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.fake_gateway import Study
from tests.integration.page.visitor import listed, png, press, run, submitted, told, upload, viewer
from tests.pages import APP

from metseg.errors import ProcessingFailed, QueueUnavailable, StoreUnavailable, UnsupportedFormat
from metseg.settings import Limits, settings
from metseg_ui.text import messages


def test_a_visitor_is_told_what_serves_what_it_learned_from_and_that_it_is_research_only(page):
    at = page()
    for words_told in ("Research use only. Not a medical device.", "Nested U-Net", "mean Dice 0.50", "phantoms"):
        assert words_told in told(at)
    assert "Apache-2.0" in told(at)


def test_the_model_is_told_in_full_at_one_click(page):
    at = press(page(), "About the model")
    assert "Tests of metseg." in told(at) and "It knows nothing of lesions." in told(at)
    assert list(at.table[0].value["Mean"]) == ["0.500"]


def test_nothing_can_be_sent_before_a_file_is_chosen(page):
    at = page()
    [send] = [button for button in at.button if button.label == "Find lesions"]
    assert send.disabled


def test_an_upload_becomes_a_job_in_the_address_and_is_shown_at_once(page, gateway):
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    [entry] = gateway.submissions
    assert entry["names"] == ["a.png"] and entry["threshold"] is None
    assert listed(at) == [entry["id"]] and at.query_params["show"] == entry["id"]
    assert next(metric for metric in at.metric if metric.label == "Lesions").value == str(
        len(gateway.study.result("j", gateway.card).lesions)
    )


def test_several_files_are_one_study_unless_the_reader_says_otherwise(page, gateway):
    files = [(f"{name}.png", png()) for name in "abc"]
    press(upload(page(), *files), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions] == [["a.png", "b.png", "c.png"]]
    at = upload(page(), *files)
    at.radio[0].set_value("a scan each")
    at = press(run(at), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions[1:]] == [["a.png"], ["b.png"], ["c.png"]]
    assert len(listed(at)) == 3


def test_more_files_than_a_submission_may_have_are_sent_in_one_archive(page, gateway):
    press(upload(page(), *((f"{index}.png", png()) for index in range(130))), "Find lesions")
    press(upload(page(), *(("IM0001", png()) for _ in range(130))), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions] == [["0.png.zip"], ["IM0001.zip"]]


def test_how_sure_the_model_is_is_asked_for_at_will(page, gateway):
    press(upload(page(), ("a.png", png())), "Find lesions")
    at = page()
    at.toggle(key="uncertainty").set_value(True)
    press(upload(run(at), ("a.png", png())), "Find lesions")
    assert [entry["uncertainty"] for entry in gateway.submissions] == [None, "true"]


def test_volumes_are_aligned_unless_the_reader_says_otherwise(page, gateway):
    press(upload(page(), ("a.png", png())), "Find lesions")
    at = page()
    at.toggle(key="align").set_value(False)
    press(upload(run(at), ("a.png", png())), "Find lesions")
    assert [entry["align"] for entry in gateway.submissions] == ["rigid", "none"]


def test_a_threshold_of_ones_own_is_submitted(page, gateway):
    at = page()
    at.toggle(key="own_threshold").set_value(True)
    run(at).slider[0].set_value(0.3)
    press(upload(at, ("a.png", png())), "Find lesions")
    assert gateway.submissions[0]["threshold"] == "0.3"


def test_an_example_scan_is_one_click_away_and_readable_for_the_gateway(page, gateway):
    at = press(page(), "One large lesion")
    assert gateway.submissions[0]["names"] == ["example-47.zip"]
    assert "Example\\: one large lesion" in told(at)


def test_a_refused_file_is_explained_in_the_gateways_words_and_stays_chosen(page, gateway):
    gateway.refusal = UnsupportedFormat("It is no image; upload PNG.")
    at = press(upload(page(), ("notes.txt", b"text")), "Find lesions")
    assert "The format is not supported" in told(at)
    assert listed(at) == []
    gateway.refusal = None
    at = press(upload(at, ("a.png", png())), "Find lesions")
    assert not at.error and len(gateway.submissions) == 1


def test_one_refused_scan_among_several_does_not_lose_the_others(page, gateway):
    at = upload(page(), ("a.png", png()), ("b.png", b"text"))
    at.radio[0].set_value("a scan each")
    at = press(run(at), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions] == [["a.png"]]
    assert len(listed(at)) == 1 and "b.png" in told(at).replace("\\", "")


def test_waiting_and_running_are_told_and_asked_again_until_the_end(page, gateway):
    gateway.waiting_s = 3600
    [job] = submitted(gateway)
    at = page(job)
    assert "Waiting, 2nd in line" in at.main.progress[0].proto.text
    gateway.waiting_s, gateway.running_s = 0, 3600
    gateway.accepted[job] = datetime.now(UTC)
    assert "Slice 0 of 8" in run(at).main.progress[0].proto.text
    gateway.running_s = 0
    assert run(at).metric


def test_a_final_job_is_not_asked_for_again(page, gateway):
    at = page(*submitted(gateway, 2))
    run(at)
    before = len(gateway.asked)
    run(run(at))
    assert gateway.asked[before:] == []


def test_a_reload_shows_the_same_jobs_and_the_same_one_of_them(page, gateway):
    first, second, third = submitted(gateway, 3)
    at = page(third, second, first, show=first)
    assert [button.key for button in at.sidebar.button if (button.key or "").startswith("job-")] == [
        f"job-{job}" for job in (third, second, first)
    ]
    assert viewer(at)["job"] == first


def test_what_is_no_job_id_in_the_address_is_never_asked_for(page, gateway):
    page("../models", "x", "a/b/c/d/e/f/g", "<script>alert(1)</script>")
    assert not any("jobs" in call for call in gateway.asked)


def test_a_job_that_expired_is_explained_and_can_be_taken_off_the_list(page, gateway):
    at = page("0123456789abcdef")
    assert "not there any more" in told(at)
    at = press(at, "Take it off the list")
    assert listed(at) == []
    assert "not there any more" not in told(at)


def test_a_failed_job_tells_its_reason_and_not_a_stack_trace(page, gateway):
    gateway.failure = ProcessingFailed("The worker ran out of memory; submit fewer slices.")
    at = page(*submitted(gateway))
    assert "The worker ran out of memory; submit fewer slices." in at.error[0].value
    assert not at.exception


def test_the_first_slice_shown_is_where_the_largest_lesion_is_largest(page, gateway):
    [job] = submitted(gateway)
    largest = gateway.study.result(job, gateway.card).lesions[0].largest_slice
    assert viewer(page(job))["slice"] == largest


def test_the_table_lists_every_lesion_and_the_viewer_knows_where_each_of_them_is(page, gateway):
    [job] = submitted(gateway)
    at = page(job)
    result = gateway.study.result(job, gateway.card)
    assert list(at.dataframe[0].value["No."]) == [lesion.number for lesion in result.lesions]
    told_viewer = viewer(at)
    assert told_viewer["touching"] == [figures.lesions for figures in result.slices]
    assert [lesion["number"] for lesion in told_viewer["lesions"]] == [lesion.number for lesion in result.lesions]


def test_the_viewer_offers_the_sequences_that_there_are(page, gateway):
    [job] = submitted(gateway)
    assert viewer(page(job))["channels"] == [["pre", "Pre"], ["flair", "FLAIR"], ["post", "Post"]]


def test_pixels_do_not_pass_through_the_session(page, gateway):
    [job] = submitted(gateway)
    run(page(job))
    calls = [call for call in gateway.asked if job in call]
    assert not any("/mask" in call or "/volume/" in call or "/probability" in call for call in calls)
    assert len([call for call in calls if "/slice/" in call]) <= 1


def test_every_form_of_the_result_can_be_taken_along(page, gateway):
    at = page(*submitted(gateway))
    assert [button.label for button in at.get("download_button")] == [
        "Masks, ZIP",
        "Mask, NIfTI",
        "Mask, TIFF",
        "This slice, PNG",
        "Result, JSON",
        "Lesions, CSV",
        "Report to print, HTML",
        "Outlined slices, ZIP",
        "Animation, WebP",
        "Probability, NIfTI",
    ]


def test_warnings_of_the_result_are_shown(page, gateway):
    gateway.warnings = ["The image is grey; it was copied to all sequences."]
    assert "copied to all sequences" in page(*submitted(gateway)).warning[0].value


def test_a_scan_without_lesions_is_not_called_healthy(page, gateway):
    study = Study(slices=8)
    study.mask = np.zeros_like(study.mask)
    gateway.study = study
    assert "That does not mean that there is none" in told(page(*submitted(gateway)))


def test_a_lone_slice_has_no_slider_and_a_png_to_take(page, gateway, study):
    lone = Study(slices=8)
    index = int(lone.mask.sum(axis=(1, 2)).argmax())
    lone.pixels, lone.mask, lone.probability = (
        part[index : index + 1] for part in (lone.pixels, lone.mask, lone.probability)
    )
    lone.names = ("only",)
    gateway.study = lone
    [job] = submitted(gateway)
    at = page(job)
    assert viewer(at)["slices"] == 1
    assert at.get("download_button")[0].label == "Mask, PNG"


def test_a_job_is_deleted_only_after_a_second_word_and_leaves_the_list(page, gateway):
    first, second = submitted(gateway, 2)
    at = page(second, first)
    assert set(gateway.accepted) == {first, second}
    at = press(at, "Delete for good")
    assert set(gateway.accepted) == {first}
    assert listed(at) == [first]


def test_a_store_that_is_away_is_explained_and_the_page_goes_on_when_it_is_back(page, gateway):
    [job] = submitted(gateway)
    gateway.away = StoreUnavailable("The object store does not answer; try again in a minute.")
    at = page(job)
    assert "not available just now" in told(at) and "goes on by itself" in told(at)
    assert messages.DISCLAIMER in told(at)
    gateway.away = None
    assert run(at).metric


def test_a_queue_that_is_away_refuses_the_upload_in_clear_words(page, gateway):
    gateway.refusal = QueueUnavailable("The queue does not answer; nothing was accepted, so submit again in a minute.")
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    assert "nothing was accepted" in told(at)


@pytest.mark.slow
def test_a_gateway_that_does_not_listen_is_explained(page, monkeypatch):
    monkeypatch.setenv("METSEG_GATEWAY_URL", "http://127.0.0.1:9")
    settings.cache_clear()
    assert "The gateway does not answer" in told(page())


def test_without_a_model_in_service_the_page_says_so(page, gateway):
    gateway.champion = False
    assert "No model is in service yet" in told(page())


def test_names_of_files_cannot_write_into_the_page(page, gateway):
    at = press(upload(page(), ("![x](http://example.org/x.png)<b>.png", png())), "Find lesions")
    assert "![x](" not in told(at)


def test_the_upload_limit_of_the_server_is_that_of_the_gateway():
    config = tomllib.loads((APP.parent / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] * 2**20 == Limits().upload_bytes
    assert config["server"]["enableXsrfProtection"] and config["server"]["headless"]
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"


def test_ordinals_are_read_as_english():
    assert [messages.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip

"""Uploads: what is sent to the gateway, and what the page shows after a refusal."""

import gzip
import io
from datetime import date

import nibabel
import numpy as np
import pytest
import streamlit as st
from tests.integration.page import browser
from tests.integration.page.visitor import (
    listed_jobs,
    metrics,
    page_text,
    png,
    press,
    run,
    submit_jobs,
    upload,
    uploader_files,
)

from metseg.client import connection
from metseg.errors import (
    AmbiguousSeries,
    MetsegError,
    QueueFull,
    QueueUnavailable,
    SeriesCandidate,
    StorageFull,
    TooManyRequests,
    UnsupportedFormat,
)
from metseg.formats import Upload, read_volume
from metseg.imaging import ROLES
from metseg.settings import Limits, settings
from metseg_ui import example_scans
from metseg_ui.components import uploader

REFUSALS = [
    QueueFull("50 jobs are waiting already; submit again when some are done."),
    StorageFull("Too little disk space is left for this upload; delete jobs, or ask the operator."),
    TooManyRequests("You may submit 60 studies per minute; wait a little."),
]
each_refusal = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.type.rpartition("/")[2])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """The client retries at once, whatever pause the gateway asks for."""
    monkeypatch.setattr(connection, "MAX_PAUSE_S", 0.0)


def nifti(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)
    return gzip.compress(nibabel.Nifti1Image(pixels, np.eye(4)).to_bytes())


def test_nothing_can_be_submitted_before_a_file_is_chosen(page):
    [submit] = [button for button in page().button if button.label == "Find lesions"]
    assert submit.disabled


def test_the_name_that_the_reader_types_is_kept_with_the_scan(page, gateway):
    at = upload(page(), ("left.png", png()))
    [name] = [field for field in at.text_input if field.label == "Name of the scan"]
    name.set_value("  Follow-up, March ")
    press(run(at), "Find lesions")
    [entry] = gateway.submissions
    assert entry["label"] == "Follow-up, March"
    assert "Follow-up, March" in page_text(page(entry["id"]))


def test_patient_and_date_reach_the_gateway_and_are_not_kept_for_the_next_upload(page, gateway):
    at = page()
    for name in "ab":
        at = upload(at, (f"{name}.png", png()))
        if name == "a":
            at.text_input(key="patient-0").set_value(" p-7 ")
            at.date_input(key="taken-on-0-0").set_value(date(2026, 1, 5))
        at = press(run(at), "Find lesions")
    assert [(entry["patient"], entry["taken_on"]) for entry in gateway.submissions] == [
        ("p-7", "2026-01-05"),
        (None, None),
    ]


def test_separate_scans_have_a_date_each(page, gateway):
    at = upload(page(), ("may.png", png()), ("june.png", png()))
    at.radio[0].set_value("separate scans")
    at = run(at)
    at.text_input(key="patient-0").set_value("p-7")
    at.date_input(key="taken-on-0-0").set_value(date(2026, 5, 1))
    at.date_input(key="taken-on-0-1").set_value(date(2026, 6, 1))
    press(run(at), "Find lesions")
    assert [(entry["names"], entry["patient"], entry["taken_on"]) for entry in gateway.submissions] == [
        (["may.png"], "p-7", "2026-05-01"),
        (["june.png"], "p-7", "2026-06-01"),
    ]


def test_an_upload_becomes_a_job_in_the_url(page, gateway):
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    [entry] = gateway.submissions
    assert entry["names"] == ["a.png"] and entry["threshold"] is None
    assert listed_jobs(at) == [entry["id"]] and at.query_params["show"] == entry["id"]
    assert metrics(at)["Lesions"] == str(len(gateway.study.result("j", gateway.card).lesions))


def test_several_files_are_one_scan_unless_the_reader_chooses_otherwise(page, gateway):
    files = [(f"{name}.png", png()) for name in "abc"]
    press(upload(page(), *files), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions] == [["a.png", "b.png", "c.png"]]
    at = upload(page(), *files)
    at.radio[0].set_value("separate scans")
    at = press(run(at), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions[1:]] == [["a.png"], ["b.png"], ["c.png"]]
    assert len(listed_jobs(at)) == 3


def test_more_files_than_a_submission_may_have_are_sent_as_one_archive(page, gateway):
    limit = Limits().files
    for count in (limit, limit + 1):
        press(upload(page(), *((f"{index}.png", png()) for index in range(count))), "Find lesions")
    press(upload(page(), *(("IM0001", png()) for _ in range(limit + 1))), "Find lesions")
    [as_files, *archives] = [entry["names"] for entry in gateway.submissions]
    assert len(as_files) == limit
    assert archives == [["0.png.zip"], ["IM0001.zip"]]


def test_a_scan_that_is_too_large_is_refused_before_it_is_sent(page, gateway, monkeypatch):
    monkeypatch.setenv("METSEG_LIMIT_UPLOAD_BYTES", str(2**20))
    settings.cache_clear()
    at = upload(page(), ("large.nii", bytes(3 * 2**20)), ("small.nii", b"x"))
    assert "large.nii and 1 more has 4 MB; an upload may have 1 MB" in page_text(at).replace("\\", "")
    [button] = [button for button in at.button if button.label == "Find lesions"]
    assert button.disabled and gateway.submissions == []
    at = upload(at, ("small.nii", b"x"))
    assert not at.error


def test_cancelled_scans_stay_chosen_and_accepted_ones_are_listed(page, gateway, monkeypatch):
    send, sent = browser.send, []

    def cancelled_after_one(*scan):
        sent.append(None if sent else send(*scan))
        return sent[-1]

    monkeypatch.setattr(browser, "send", cancelled_after_one)
    at = upload(page(), ("a.png", png()), ("b.png", png()))
    at.radio[0].set_value("separate scans")
    at = press(run(at), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions] == [["a.png"]] and len(listed_jobs(at)) == 1
    assert not at.error and not at.warning and "b.png" in str(uploader_files(at))


def test_a_page_that_is_away_is_explained(page, gateway, monkeypatch):
    monkeypatch.setattr(browser, "send", lambda *_: {"status": 0, "headers": {}, "body": "TypeError"})
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    assert "Choose the files again" in page_text(at) and gateway.submissions == []


def test_an_answer_to_an_earlier_plan_counts_for_nothing(page, gateway, monkeypatch):
    at = page()
    answer = {"status": 202, "headers": {}, "body": gateway.submit(["a.png"], None).model_dump_json()}

    def late(upload_round, hint, plan, on_answers):
        if plan:
            st.session_state[browser.ANSWERS] = {"plan": "an earlier one", "answers": [answer]}
            on_answers()

    monkeypatch.setattr(uploader, "render", late)
    at = run(press(upload(at, ("a.png", png())), "Find lesions"))
    assert listed_jobs(at) == []
    [button] = [button for button in at.button if button.label == "Find lesions"]
    assert button.disabled, "the browser still sends"


def test_uncertainty_is_estimated_only_on_request(page, gateway):
    press(upload(page(), ("a.png", png())), "Find lesions")
    at = page()
    at.toggle(key="uncertainty").set_value(True)
    press(upload(run(at), ("a.png", png())), "Find lesions")
    assert [entry["uncertainty"] for entry in gateway.submissions] == [None, "true"]


def test_volumes_are_aligned_unless_the_reader_chooses_otherwise(page, gateway):
    press(upload(page(), ("a.png", png())), "Find lesions")
    at = page()
    at.toggle(key="align").set_value(False)
    press(upload(run(at), ("a.png", png())), "Find lesions")
    assert [entry["align"] for entry in gateway.submissions] == ["rigid", "none"]


def test_the_sequence_of_each_file_can_be_chosen(page, gateway):
    at = upload(page(), *((f"series_{index}.nii.gz", nifti(index)) for index in range(3)))
    at.toggle(key="choose-0").set_value(True)
    run(at)
    for role, index in (("flair", 2), ("post", 0)):
        at.multiselect(key=f"{role}-0").set_value([f"series_{index}.nii.gz"])
        run(at)
    assert "Left out: series\\_1.nii.gz" in page_text(at)
    press(at, "Find lesions")
    [entry] = gateway.submissions
    assert entry["names"] == ["series_2.nii.gz", "series_0.nii.gz"] and entry["roles"] == ["flair", "post"]


def test_the_sequence_of_each_folder_can_be_chosen_and_long_series_are_packed(page, gateway):
    count = Limits().files
    files = [(f"study/{folder}/IM{index:04}", png()) for folder in ("a", "b") for index in range(count)]
    at = upload(page(), *files, ("study/c/IM0001", png()))
    at.toggle(key="choose-0").set_value(True)
    run(at)
    for role, folder in (("flair", "study/b"), ("post", "study/a")):
        at.multiselect(key=f"{role}-0").set_value([folder])
        run(at)
    assert "Left out: study/c" in page_text(at)
    press(at, "Find lesions")
    [entry] = gateway.submissions
    assert entry["roles"] == ["flair", "post"] and all(name.endswith(".zip") for name in entry["names"])


def test_a_study_with_unclear_sequences_leads_to_the_choice(page, gateway):
    candidates = [
        SeriesCandidate(3, "T1, axial, 36 slices of 256 x 256, TR 8 ms", 36, ("pre", "post")),
        SeriesCandidate(5, "unknown sequence", 20, ()),
    ]
    gateway.refusal = AmbiguousSeries("It is not clear which is which; send each in its field.", candidates)
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    shown = at.main.error[0].value
    assert "switch on “Choose the sequences”" in shown
    assert "- Series 3, 36 files: T1, axial, 36 slices" in shown
    assert "may be pre-contrast T1 or post-contrast T1" in shown.lower().replace("t1", "T1")
    assert "- Series 5, 20 files" in shown


def test_a_visitor_reads_which_sequences_are_wanted(page):
    assert "pre-contrast T1, FLAIR and post-contrast T1" in page_text(page())


def test_an_example_has_a_spacing_and_every_sequence(page):
    for example in example_scans.EXAMPLES:
        volumes = example_scans.draw(example).volumes
        uploads = [Upload(f"{role}.nii.gz", io.BytesIO(content), role) for role, content in volumes.items()]
        volume = read_volume(uploads, Limits())
        assert volume.spacing_mm is not None and set(volumes) == set(ROLES)
        assert volume.warnings == ()


def test_a_refusal_is_shown_above_the_page_until_it_is_closed(page, gateway):
    gateway.refusal = UnsupportedFormat("It is no image; upload PNG.")
    at = press(upload(page(), ("notes.txt", b"text")), "Find lesions")
    assert "The format is not supported" in at.main.error[0].value
    at = press(at, "Close")
    assert not at.error


def test_a_manual_threshold_is_submitted(page, gateway):
    at = page()
    at.toggle(key="own_threshold").set_value(True)
    run(at).slider[0].set_value(0.3)
    press(upload(at, ("a.png", png())), "Find lesions")
    assert gateway.submissions[0]["threshold"] == "0.3"


def test_an_example_scan_is_one_click_away_and_the_gateway_can_read_it(page, gateway):
    at = press(page(), "One large lesion")
    assert gateway.submissions[0]["names"] == [f"example-47-{role}.nii.gz" for role in ("pre", "flair", "post")]
    assert gateway.submissions[0]["roles"] == ["pre", "flair", "post"]
    assert "Example\\: one large lesion" in page_text(at)


def test_a_rejected_file_is_explained_in_the_gateways_words_and_stays_chosen(page, gateway):
    gateway.refusal = UnsupportedFormat("It is no image; upload PNG.")
    at = press(upload(page(), ("notes.txt", b"text")), "Find lesions")
    assert "The format is not supported" in page_text(at)
    assert listed_jobs(at) == []
    gateway.refusal = None
    at = press(upload(at, ("a.png", png())), "Find lesions")
    assert not at.error and len(gateway.submissions) == 1


def test_one_rejected_scan_among_several_does_not_lose_the_others(page, gateway):
    at = upload(page(), ("a.png", png()), ("b.png", b"text"))
    at.radio[0].set_value("separate scans")
    at = press(run(at), "Find lesions")
    assert [entry["names"] for entry in gateway.submissions] == [["a.png"]]
    assert len(listed_jobs(at)) == 1 and "b.png" in page_text(at).replace("\\", "")


def test_an_unavailable_queue_is_explained(page, gateway):
    gateway.refusal = QueueUnavailable("The queue does not answer; nothing was accepted, so submit again in a minute.")
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    assert "nothing was accepted" in page_text(at)


@each_refusal
def test_a_transient_refusal_says_what_to_do_and_when(page, gateway, refusal: MetsegError):
    gateway.refusal, gateway.retry_after_s = refusal, 30
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    [warning] = at.warning
    assert warning.value.startswith(f"**{refusal.title}.** {refusal.detail} ")
    assert "Try again in about 30 seconds" in warning.value
    assert not at.error and listed_jobs(at) == []


@each_refusal
def test_refused_files_stay_chosen_and_are_accepted_later(page, gateway, refusal: MetsegError):
    gateway.refusal = refusal
    at = press(upload(page(), ("a.png", png())), "Find lesions")
    assert "Try again in a moment" in page_text(at)
    gateway.refusal = None
    at = press(at, "Find lesions")
    assert not at.warning and len(listed_jobs(at)) == 1
    assert [entry["names"] for entry in gateway.submissions] == [["a.png"]]


def test_a_full_queue_leaves_earlier_scans_on_the_page(page, gateway):
    before = submit_jobs(gateway)
    gateway.refusal = QueueFull("50 jobs are waiting already; submit again when some are done.")
    at = press(upload(page(*before), ("a.png", png())), "Find lesions")
    assert listed_jobs(at) == before and at.metric
    assert "The queue is full" in page_text(at)


def test_a_refused_example_is_explained_in_the_gateways_words(page, gateway):
    gateway.refusal, gateway.retry_after_s = StorageFull("Too little disk space is left for this upload."), 60
    at = press(page(), "One large lesion")
    assert "The disk is nearly full" in page_text(at) and "in about 60 seconds" in page_text(at)


def test_file_names_cannot_inject_markdown(page, gateway):
    at = press(upload(page(), ("![x](http://example.org/x.png)<b>.png", png())), "Find lesions")
    assert "![x](" not in page_text(at) and "http" in page_text(at)


def test_the_sequence_of_a_grey_image_is_recognised_unless_the_reader_chooses_it(page, gateway):
    press(upload(page(), ("a.png", png())), "Find lesions")
    at = upload(page(), ("a.png", png()))
    at.selectbox(key="sequence-0").set_value("post")
    press(run(at), "Find lesions")
    assert [entry["sequence"] for entry in gateway.submissions] == ["auto", "post"]

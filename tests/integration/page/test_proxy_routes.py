"""Fetches outside Streamlit's connection: the viewer's files, volumes and reports."""

import gzip
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import nibabel
import numpy as np
import pytest
from starlette.applications import Starlette
from tests.fake_gateway import FOLLOW_UP_ID, FakeGateway, listening, serving
from tests.fake_study import FakeStudy

from metseg.contracts import FollowUpResult, KeyInfo
from metseg.errors import QueueFull, StoreUnavailable
from metseg.imaging import encode_png
from metseg.results.exports import EXPORTS, find_export
from metseg_ui import proxy_routes
from metseg_ui.state import sessions


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeGateway]:
    with serving(FakeGateway(study=FakeStudy(slices=5))) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def browser() -> Iterator[httpx.Client]:
    with listening(Starlette(routes=proxy_routes.ROUTES)) as url, httpx.Client(base_url=url) as browser:
        yield browser


def accepted(url: str, key: str = "") -> sessions.Session:
    """A session whose key the gateway has accepted."""
    session = sessions.Session(url, key, signed_in=bool(key))
    session.accepted = True
    return session


@pytest.fixture
def session(gateway) -> sessions.Session:
    return accepted(gateway.url)


@pytest.fixture
def path(gateway, session) -> str:
    """The path of a job's volumes."""
    return f"/volumes/{session.token}/{gateway.submit(['a.png'], None).id}"


PNG = encode_png(np.zeros((32, 32, 3), np.uint8))


def submit(browser, token, files=(("files", ("a.png", PNG)),)):
    headers = {"Idempotency-Key": "some-key"}
    return browser.post(f"/submissions/{token}", data={"label": "March"}, files=list(files), headers=headers)


def test_a_submission_reaches_the_gateway_with_the_sessions_key(browser):
    keys = {"key-of-the-ward": KeyInfo(name="ward", scopes=["submit", "read"])}
    with serving(FakeGateway(study=FakeStudy(slices=3), keys=keys)) as gateway:
        session = accepted(gateway.url, "key-of-the-ward")
        answer = submit(browser, session.token, [("pre", ("a.png", PNG)), ("post", ("b.png", PNG))])
        assert answer.status_code == 202
        [entry] = gateway.submissions
        assert answer.json()["id"] == entry["id"]
        assert (entry["names"], entry["roles"], entry["label"]) == (["a.png", "b.png"], ["pre", "post"], "March")
        revoked = accepted(gateway.url, "another")
        refused = submit(browser, revoked.token)
        assert refused.status_code == 401 and refused.headers["Content-Type"] == "application/problem+json"
        assert len(gateway.submissions) == 1


def test_a_submission_without_session_sign_in_or_length_is_refused(browser, gateway, session):
    assert submit(browser, "guessed").status_code == 404
    visitor = sessions.Session(gateway.url, "", signed_in=False)
    assert submit(browser, visitor.token).status_code == 404
    assert browser.post(f"/submissions/{session.token}", content=iter([b"x"])).status_code == 411


def test_a_refused_submission_is_explained_in_the_gateways_words(browser, gateway, session):
    gateway.refusal, gateway.retry_after_s = QueueFull("50 jobs are waiting already; submit again later."), 30
    try:
        answer = submit(browser, session.token)
    finally:
        gateway.refusal, gateway.retry_after_s = None, 0
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "30"
    assert answer.json()["detail"] == "50 jobs are waiting already; submit again later."


def test_a_browser_that_still_sends_gets_the_answer(browser, monkeypatch):
    """The gateway refuses by the headers alone, long before the body is there."""

    async def refuse(scope, receive, send):
        headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        problem = b'{"type": "about:blank", "title": "Large", "status": 413, "detail": "Too large."}'
        await send({"type": "http.response.body", "body": problem})

    with listening(refuse) as url:
        session = accepted(url)
        answer = submit(browser, session.token, [("files", ("a.bin", b"x" * 30_000_000))])
    assert answer.status_code == 413 and answer.json()["detail"] == "Too large."


def test_of_an_upload_that_breaks_off_nothing_is_submitted(browser, gateway, session, monkeypatch):
    before = len(gateway.submissions)
    monkeypatch.setattr(proxy_routes, "IDLE_S", 0.3)
    url = browser.base_url
    body = b"--b\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\npixels"
    head = f"POST /submissions/{session.token} HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 5000\r\n"
    with socket.create_connection((url.host, url.port)) as hanging:
        hanging.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
        assert hanging.recv(100).startswith(b"HTTP/1.1 408")
    with socket.create_connection((url.host, url.port)) as closing:
        closing.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
    time.sleep(0.5)
    assert len(gateway.submissions) == before
    assert submit(browser, session.token).is_success


@pytest.mark.parametrize(("layer", "channel"), [("pre", 0), ("flair", 1), ("post", 2)])
def test_a_channel_has_the_intensities_that_the_model_saw(browser, gateway, path, layer, channel):
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(browser.get(f"{path}/{layer}").content))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, gateway.study.pixels[..., channel])


def test_all_layers_share_one_grid(browser, path):
    layers = [browser.get(f"{path}/{layer}").content for layer in ("flair", "mask", "probability")]
    images = [nibabel.Nifti1Image.from_bytes(gzip.decompress(layer)) for layer in layers]
    assert len({image.shape for image in images}) == 1
    assert all(np.array_equal(image.affine, images[0].affine) for image in images)


def test_only_an_existing_session_may_fetch(browser, path):
    job = path.rsplit("/", 1)[1]
    assert browser.get(f"/volumes/guessed/{job}/mask").status_code == 404
    assert browser.get(f"/overlays/guessed/{job}/0").status_code == 404
    assert browser.get(f"{path}/mask").status_code == 200


def test_a_token_is_worthless_once_its_session_is_gone(gateway):
    session = sessions.Session(gateway.url, "", signed_in=False)
    token = session.token
    assert sessions.client_for(token) is not None
    del session
    assert sessions.client_for(token) is None


def test_a_token_opens_nothing_while_its_page_is_closed(browser, gateway, monkeypatch):
    """Streamlit keeps the session of a closed page for minutes, for a browser that reconnects."""
    connected = {"page"}

    class Runtime:
        def is_active_session(self, session_id):
            return session_id in connected

    monkeypatch.setattr(sessions, "get_script_run_ctx", lambda **_: SimpleNamespace(session_id="page"))
    monkeypatch.setattr(sessions.runtime, "exists", lambda: True)
    monkeypatch.setattr(sessions.runtime, "get_instance", Runtime)
    session = sessions.Session(gateway.url, "", signed_in=False)
    path = f"/volumes/{session.token}/{gateway.submit(['a.png'], None).id}/mask"
    statuses = [browser.get(path).status_code]
    connected.clear()
    statuses.append(browser.get(path).status_code)
    connected.add("page")
    statuses.append(browser.get(path).status_code)
    assert statuses == [200, 404, 200]


def test_a_report_can_run_no_script_and_load_nothing(browser, session):
    answer = browser.get(f"/reports/{session.token}/v1")
    assert answer.text.startswith("<h1>Report of v1")
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy and "sandbox" in policy
    assert browser.get("/reports/guessed/v1").status_code == 404


def test_every_export_is_streamed_and_saved_under_its_name(browser, gateway, session):
    job = gateway.submit(["a.png"], None).id
    for export in (*EXPORTS.values(), find_export("mask", "rtstruct", margin_mm=2.5)):
        answer = browser.get(proxy_routes.export_url(session.token, job, export))
        asked = gateway.requests[-1]
        assert asked == f"GET /v1/jobs/{job}/{export.kind}", export.name
        assert answer.status_code in (200, 404, 406), export.name
        if answer.status_code == 200:
            assert answer.headers["Content-Type"].startswith(export.media_type)
            assert (
                answer.headers["Content-Disposition"] == f'attachment; filename="metseg-{job[-6:]}-{export.file_name}"'
            )
    mask = browser.get(proxy_routes.export_url(session.token, job, EXPORTS["nifti"])).content
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(mask))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T > 0, gateway.study.mask)


@pytest.mark.parametrize(
    "name", ["model", "..%2fresult", "rtstruct?margin_mm=99", "rtstruct?margin_mm=wide", "nifti?margin_mm=2"]
)
def test_the_gateway_is_only_asked_for_exports(browser, gateway, session, name):
    job = gateway.submit(["a.png"], None).id
    before = len(gateway.requests)
    assert browser.get(f"/exports/{session.token}/{job}/{name}").status_code == 404
    assert browser.get(f"/exports/guessed/{job}/nifti").status_code == 404
    assert browser.get(f"/exports/{session.token}/models/nifti").status_code == 404
    assert browser.get(f"/follow-ups/{session.token}/{job}/{name}").status_code == 404
    assert browser.get(f"/follow-ups/guessed/{job}/report").status_code == 404
    assert gateway.requests[before:] == []


@pytest.mark.parametrize("layer", ["result", "..%2f..%2fmodels", "mask%3fformat"])
def test_the_gateway_is_only_asked_for_layers(browser, gateway, path, layer):
    before = len(gateway.requests)
    assert browser.get(f"{path}/{layer}").status_code == 404
    assert gateway.requests[before:] == []


def test_a_browser_hears_of_the_end_of_a_job_when_it_ends(browser, gateway, session):
    gateway.running_s = 1.5
    try:
        job = gateway.submit(["a.png"], None).id
        began = time.monotonic()
        answer = browser.get(f"/waits/{session.token}/{job}", timeout=60)
    finally:
        gateway.running_s = 0.0
    assert answer.json() == {"status": "succeeded", "final": True}
    assert time.monotonic() - began > 1


def test_a_browser_hears_of_the_end_of_a_follow_up(browser, gateway, session):
    path = f"/waits/{session.token}/follow-ups/{FOLLOW_UP_ID}"
    assert browser.get(path).json() == {"status": "running", "final": False}
    gateway.followed_result = FollowUpResult(structure="core", studies=[], tracks=[], warnings=[], durations_s={})
    try:
        assert browser.get(path).json() == {"status": "succeeded", "final": True}
    finally:
        gateway.followed_result = None
    assert gateway.requests[-1] == f"GET /v1/followups/{FOLLOW_UP_ID}"


def test_a_wait_ends_after_some_seconds_even_if_the_job_does_not(browser, gateway, session, monkeypatch):
    monkeypatch.setattr(proxy_routes, "WAIT_S", 0.2)
    gateway.running_s = 3600
    try:
        answer = browser.get(f"/waits/{session.token}/{gateway.submit(['a.png'], None).id}", timeout=60)
    finally:
        gateway.running_s = 0.0
    assert answer.json() == {"status": "running", "final": False}


def test_only_an_existing_session_may_wait_and_only_for_a_job(browser, gateway, session):
    job = gateway.submit(["a.png"], None).id
    before = len(gateway.requests)
    assert browser.get(f"/waits/guessed/{job}").status_code == 404
    assert browser.get(f"/waits/{session.token}/models").status_code == 404
    assert browser.get(f"/waits/guessed/follow-ups/{FOLLOW_UP_ID}").status_code == 404
    assert browser.get(f"/waits/{session.token}/follow-ups/models").status_code == 404
    assert gateway.requests[before:] == []
    gateway.accepted_at.clear()
    assert browser.get(f"/waits/{session.token}/{job}").status_code == 404


def test_a_refusal_by_the_gateway_is_passed_on_unchanged(browser, gateway, path):
    gateway.outage = StoreUnavailable("The object store does not answer; try again in a minute.")
    try:
        answer = browser.get(f"{path}/mask")
    finally:
        gateway.outage = None
    assert (answer.status_code, answer.text) == (503, "The object store does not answer; try again in a minute.")


def test_a_slice_is_an_image_with_outlined_lesions(browser, path):
    answer = browser.get(f"{path.replace('/volumes/', '/overlays/')}/2")
    assert answer.headers["Content-Type"] == "image/png" and answer.content[:4] == b"\x89PNG"


def test_browsers_cache_the_viewers_files_until_they_change(browser):
    script = browser.get(f"/assets/{proxy_routes.assets_version()}/viewer.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in script.headers["Cache-Control"]
    assert browser.get("/assets/0123456789abcdef/viewer.js").status_code == 404


@pytest.mark.parametrize("name", ["..%2fviewer.py", "%2e%2e%2fviewer.py", "nothing.js"])
def test_no_other_file_of_the_package_can_be_fetched(browser, name):
    assert browser.get(f"/assets/{proxy_routes.assets_version()}/{name}").status_code == 404


@pytest.mark.parametrize(("package", "licence"), [("niivue", "BSD 2-Clause"), ("client-zip", "Permission is hereby")])
def test_a_package_of_npm_is_the_file_that_its_note_names(package, licence):
    note = json.loads((proxy_routes.ASSETS / f"{package}.json").read_text())
    content = (proxy_routes.ASSETS / note["asset"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == note["sha256"]
    assert licence in (proxy_routes.ASSETS / f"{package}.LICENSE.txt").read_text()

"""What a browser fetches from the page beside the page: the viewer's files, and volumes that pass through."""

import gzip
import hashlib
import json
from collections.abc import Iterator

import httpx
import nibabel
import numpy as np
import pytest
from starlette.applications import Starlette
from tests.fake_gateway import FakeGateway, Study, listening, serving

from metseg.errors import StoreUnavailable
from metseg_ui import proxy_routes
from metseg_ui.state import sessions


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeGateway]:
    with serving(FakeGateway(study=Study(slices=5))) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def browser() -> Iterator[httpx.Client]:
    with listening(Starlette(routes=proxy_routes.ROUTES)) as url, httpx.Client(base_url=url) as browser:
        yield browser


@pytest.fixture
def visit(gateway) -> sessions.Visit:
    return sessions.Visit(gateway.url, "", own=False)


@pytest.fixture
def path(gateway, visit) -> str:
    return f"/volumes/{visit.ticket}/{gateway.submit(['a.png'], None).id}"


@pytest.mark.parametrize(("layer", "channel"), [("pre", 0), ("flair", 1), ("post", 2)])
def test_a_channel_comes_as_it_was_shown_to_the_model(browser, gateway, path, layer, channel):
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(browser.get(f"{path}/{layer}").content))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, gateway.study.pixels[..., channel])


def test_all_layers_lie_on_one_grid(browser, path):
    layers = [browser.get(f"{path}/{layer}").content for layer in ("flair", "mask", "probability")]
    images = [nibabel.Nifti1Image.from_bytes(gzip.decompress(layer)) for layer in layers]
    assert len({image.shape for image in images}) == 1
    assert all(np.array_equal(image.affine, images[0].affine) for image in images)


def test_only_a_visit_that_goes_on_may_fetch(browser, gateway, visit, path):
    job = path.rsplit("/", 1)[1]
    assert browser.get(f"/volumes/guessed/{job}/mask").status_code == 404
    assert browser.get(f"/pictures/guessed/{job}/0").status_code == 404
    assert browser.get(f"{path}/mask").status_code == 200


def test_a_ticket_is_worth_nothing_once_its_session_is_forgotten(gateway):
    forgotten = sessions.Visit(gateway.url, "", own=False)
    ticket = forgotten.ticket
    assert sessions.client(ticket) is not None
    del forgotten
    assert sessions.client(ticket) is None


def test_a_report_can_run_nothing_and_reach_nothing(browser, visit):
    answer = browser.get(f"/reports/{visit.ticket}/v1")
    assert answer.text.startswith("<h1>Report of v1")
    rules = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in rules and "sandbox" in rules
    assert browser.get("/reports/guessed/v1").status_code == 404


@pytest.mark.parametrize("layer", ["result", "..%2f..%2fmodels", "mask%3fformat"])
def test_what_is_no_layer_is_never_asked_for(browser, gateway, path, layer):
    before = len(gateway.asked)
    assert browser.get(f"{path}/{layer}").status_code == 404
    assert gateway.asked[before:] == []


def test_what_the_gateway_refuses_is_refused_in_its_words(browser, gateway, path):
    gateway.away = StoreUnavailable("The object store does not answer; try again in a minute.")
    try:
        answer = browser.get(f"{path}/mask")
    finally:
        gateway.away = None
    assert (answer.status_code, answer.text) == (503, "The object store does not answer; try again in a minute.")


def test_a_slice_comes_as_a_picture_while_the_volume_is_on_its_way(browser, visit, path):
    answer = browser.get(f"{path.replace('/volumes/', '/pictures/')}/2")
    assert answer.headers["Content-Type"] == "image/png" and answer.content[:4] == b"\x89PNG"


def test_the_viewers_files_are_kept_by_browsers_until_they_change(browser):
    script = browser.get(f"/assets/{proxy_routes.edition()}/viewer.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in script.headers["Cache-Control"]
    assert browser.get("/assets/0123456789abcdef/viewer.js").status_code == 404


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e%2fapp.py", "nothing.js"])
def test_nothing_else_of_the_package_can_be_fetched(browser, name):
    assert browser.get(f"/assets/{proxy_routes.edition()}/{name}").status_code == 404


def test_niivue_is_what_its_note_says():
    note = json.loads((proxy_routes.ASSETS / "niivue.json").read_text())
    content = (proxy_routes.ASSETS / "niivue.umd.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == note["sha256"]
    assert "BSD 2-Clause" in (proxy_routes.ASSETS / "niivue.LICENSE.txt").read_text()

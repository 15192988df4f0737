"""The uploader in a real browser, with a fake gateway: what is chosen, how it is sent, and what may go wrong."""

import base64
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from tests.e2e.reader import SHOTS, choose, finished, opened
from tests.fake_gateway import FakeGateway

from metseg import phantom
from metseg.errors import QueueFull

DROPPED = """([content, path]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], path));
    return data;
}"""


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A folder of three slices, with what operating systems leave in folders."""
    folder = tmp_path / "series"
    folder.mkdir()
    for number, pixels in enumerate(phantom.head(47, slices=3).volume.pixels):
        Image.fromarray(pixels).save(folder / f"slice_{number}.png")
    (folder / ".DS_Store").write_bytes(b"x")
    return folder


def find_lesions(page: Page) -> Locator:
    return page.get_by_role("button", name="Find lesions")


def test_a_scan_is_dropped_onto_the_page(page: Page, held: tuple[FakeGateway, str], scan: Path) -> None:
    gateway, url = held
    opened(page, url)
    content = base64.b64encode(scan.read_bytes()).decode()
    dropped = page.evaluate_handle(DROPPED, [content, "dropped.zip"])
    for event in ("dragenter", "dragover", "drop"):
        page.locator(".zone").dispatch_event(event, {"dataTransfer": dropped})
    expect(find_lesions(page)).to_be_enabled()
    find_lesions(page).click()
    finished(page)
    assert gateway.submissions[-1]["names"] == ["dropped.zip"]


def test_a_whole_folder_is_one_scan(page: Page, held: tuple[FakeGateway, str], series: Path) -> None:
    gateway, url = held
    opened(page, url).get_by_label("Folder", exact=True).set_input_files(str(series))
    expect(find_lesions(page)).to_be_enabled()
    page.screenshot(path=SHOTS / "uploader.png")
    find_lesions(page).click()
    finished(page)
    names = [name.split("/")[-1] for name in gateway.submissions[-1]["names"]]
    assert sorted(names) == ["slice_0.png", "slice_1.png", "slice_2.png"]
    assert gateway.submissions[-1]["label"] == "series"


def test_more_files_than_a_submission_may_have_become_one_archive(
    page: Page, held: tuple[FakeGateway, str], tmp_path: Path
) -> None:
    gateway, url = held
    [pixels] = phantom.head(47, slices=1).volume.pixels
    for number in range(130):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    choose(opened(page, url), *sorted(tmp_path.iterdir()))
    expect(page.get_by_text("130 files")).to_be_visible()
    find_lesions(page).click()
    finished(page)
    assert gateway.submissions[-1]["names"] == ["0.png.zip"]


def test_files_are_added_removed_and_not_taken_twice(page: Page, held: tuple[FakeGateway, str], series: Path) -> None:
    _, url = held
    opened(page, url)
    for name in ("slice_0.png", "slice_1.png", "slice_1.png"):
        choose(page, series / name)
    expect(page.get_by_text(re.compile("^2 files"))).to_be_visible()
    expect(page.get_by_text("slices of one scan")).to_be_visible()
    page.get_by_role("button", name="Remove slice_0.png").press("Enter")
    expect(page.get_by_text(re.compile("^1 file,"))).to_be_visible()
    expect(page.get_by_text("slices of one scan")).to_have_count(0)
    page.get_by_role("button", name="Remove all").press("Enter")
    expect(find_lesions(page)).to_be_disabled()


def test_an_upload_is_cancelled_and_sent_later(page: Page, held: tuple[FakeGateway, str], scan: Path) -> None:
    gateway, url = held
    before = len(gateway.submissions)
    held_back: list[Route] = []

    def hold_first(route: Route) -> None:
        if held_back:
            route.continue_()
        held_back.append(route)

    page.route("**/submissions/*", hold_first)
    choose(opened(page, url), scan)
    find_lesions(page).click()
    page.get_by_role("button", name="Cancel").click()
    expect(find_lesions(page)).to_be_enabled()
    assert len(gateway.submissions) == before
    find_lesions(page).click()
    finished(page)
    assert len(gateway.submissions) == before + 1


def test_a_service_that_is_away_for_a_moment_gets_the_same_submission_again(
    page: Page, held: tuple[FakeGateway, str], scan: Path
) -> None:
    gateway, url = held
    before, keys = len(gateway.submissions), list[str]()

    def unsteady(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.abort("connectionreset")
        elif len(keys) == 2:
            problem = {"type": "about:blank", "title": "Away", "status": 503, "detail": "Away."}
            headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
            route.fulfill(status=503, headers=headers, body=json.dumps(problem))
        else:
            route.continue_()

    page.route("**/submissions/*", unsteady)
    choose(opened(page, url), scan)
    find_lesions(page).click()
    finished(page)
    assert len(gateway.submissions) == before + 1
    assert len(keys) == 3 and len(set(keys)) == 1


def test_refused_files_stay_chosen(page: Page, held: tuple[FakeGateway, str], scan: Path) -> None:
    gateway, url = held
    gateway.refusal = QueueFull("50 jobs are waiting already; submit again when some are done.")
    try:
        choose(opened(page, url), scan)
        find_lesions(page).click()
        expect(page.get_by_text("The queue is full")).to_be_visible(timeout=60_000)
    finally:
        gateway.refusal = None
    expect(page.get_by_role("button", name=f"Remove {scan.name}")).to_be_visible()
    find_lesions(page).click()
    finished(page)

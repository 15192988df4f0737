"""The page in a real browser, with a fake gateway."""

import re
import time
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.e2e.reader import (
    SHOTS,
    changed,
    finished,
    look,
    opened,
)
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.pages import serving_page

from metseg.contracts import KeyInfo
from metseg.errors import ProcessingFailed, StoreUnavailable

TILES = """image => image.decode().then(() => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return [0, 1, 2, 3, 4, 5].map((cell) => {
        const at = [480 + 213 * (cell % 3) + 20, 213 * Math.floor(cell / 3) + 20];
        const { data } = context.getImageData(...at, 170, 170);
        const red = data.filter((_, index) => index % 4 === 0);
        return Math.max(...red) - Math.min(...red) > 60;
    });
})"""
OLDER = {"version": "20250101-000000-older", "created_at": datetime(2025, 1, 1, tzinfo=UTC)}


def test_a_job_is_polled_while_it_runs_and_not_afterwards(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.queued_s, gateway.running_s = 3.0, 4.0
    opened(page, url).get_by_role("button", name="One large lesion").click()
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("Queued, position 2")).to_be_visible()
    expect(main.get_by_text(re.compile(r"Slice [1-6] of 6"))).to_be_visible()
    finished(page)
    gateway.queued_s = gateway.running_s = 0
    page.wait_for_timeout(2000)
    before = len(gateway.requests)
    page.wait_for_timeout(4000)
    assert len(gateway.requests) == before


def test_the_start_page_fetches_the_viewer_and_the_browser_waits_for_the_end_of_a_job(
    page: Page, held: tuple[FakeGateway, str]
) -> None:
    gateway, url = held
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/niivue.umd.js")):
        opened(page, url)
    gateway.running_s = 6.0
    try:
        with page.expect_response(re.compile("/waits/")) as ended:
            page.get_by_role("button", name="One large lesion").click()
        assert ended.value.json() == {"status": "succeeded", "final": True}
        finished(page)
    finally:
        gateway.running_s = 0.0


def test_slices_are_shown_before_the_last_is_done(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.running_s = 60.0
    standing = page.get_by_test_id("stMain").get_by_text(re.compile(r"Slice [1-5] of 6"))
    try:
        opened(page, url).get_by_role("button", name="One large lesion").click()
        first = filled(page, 1)
        expect(standing).to_be_visible()
        more = filled(page, sum(first) + 1)
        expect(standing).to_be_visible()
        page.screenshot(path=SHOTS / "progress.png")
    finally:
        gateway.running_s = 0.0
    assert first[0] and more[0] and not more[-1], "the first slice stays visible before the last is done"
    assert more == sorted(more, reverse=True), "the tiles fill in order"
    finished(page)


def filled(page: Page, least: int) -> list[bool]:
    """Which of the six tiles show a slice, once at least `least` do; an empty tile has no contrast."""
    preview = page.get_by_role("img", name="The latest slice and the slices before it")
    for _ in range(240):
        if preview.count():
            tiles = preview.evaluate(TILES)
            if sum(tiles) >= least:
                return tiles
        page.wait_for_timeout(500)
    raise AssertionError(f"{least} slices were not shown within two minutes")


def test_a_model_is_rolled_back_and_promoted_with_a_typed_word(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    newer, older = gateway.card, gateway.card.model_copy(update=OLDER)
    gateway.others = [older]
    time.sleep(16)  # the page caches the registry for 15 s
    try:
        opened(page, url).get_by_role("button", name="Admin").click()
        expect(page.get_by_text("Models and service")).to_be_visible()
        page.get_by_role("button", name="Roll back").click()
        page.get_by_label("Type “roll back” to confirm").fill("yes")
        page.get_by_role("button", name="Roll back to this version").click()
        expect(page.get_by_text("Nothing was changed")).to_be_visible()
        assert gateway.card is newer
        page.get_by_label("Type “roll back” to confirm").fill("roll back")
        page.get_by_role("button", name="Roll back to this version").click()
        expect(page.locator(f".st-key-model-{older.version}").get_by_text("in service")).to_be_visible()
        assert gateway.card is older
        page.get_by_role("button", name="Promote").click()
        page.get_by_label("Type “promote” to confirm").fill("promote")
        page.get_by_role("button", name="Put into service").click()
        expect(page.locator(f".st-key-model-{newer.version}").get_by_text("in service")).to_be_visible()
        page.get_by_role("button", name="Report").first.click()
        report = page.frame_locator("[role=dialog] iframe")
        expect(report.get_by_text(f"Report of {newer.version}")).to_be_visible()
        assert report.locator("html").evaluate("() => document.title") != "ran"
        page.screenshot(path=SHOTS / "report.png")
    finally:
        gateway.card, gateway.others = newer, []


def test_masks_of_two_models_are_compared(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.others = [gateway.card.model_copy(update=OLDER)]
    time.sleep(16)
    try:
        opened(page, url).get_by_role("button", name="Many small lesions").click()
        finished(page)
        alone = look(page)
        page.get_by_text("Compare with another model").click()
        page.get_by_role("button", name="Run on this scan").click()
        expect(page.get_by_text("Marked only by the other model")).to_be_visible()
        finished(page)
        changed(page, alone)
        page.get_by_role("button", name="Other", exact=True).click()
        changed(page, alone)
    finally:
        gateway.others = []


def test_the_history_lists_jobs_that_the_url_does_not(page: Page, held: tuple[FakeGateway, str]) -> None:
    _, url = held
    opened(page, url).get_by_role("button", name="No lesion").click()
    finished(page)
    page.goto(f"{url}/?view=history")
    expect(page.get_by_role("heading", name="Your scans")).to_be_visible()
    page.get_by_text("Show the scans of everyone").click()
    page.get_by_role("button", name=re.compile("open_in_new")).first.click()
    finished(page)
    expect(page).to_have_url(re.compile(r"job=[0-9a-f-]+"))


def test_a_reader_signs_in_with_a_key_that_appears_in_no_url(page: Page) -> None:
    keys = {"key-of-the-ward": KeyInfo(name="ward", scopes=["submit", "read"])}
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    with serving(FakeGateway(study=FakeStudy(slices=6), keys=keys)) as gateway, serving_page(gateway.url) as url:
        page.goto(url)
        page.get_by_label("API key").fill("another")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("not known here")).to_be_visible()
        page.get_by_label("API key").fill("key-of-the-ward")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="No lesion").click()
        finished(page)
        expect(page.get_by_role("button", name="Admin")).to_have_count(0)
        assert not [one for one in requested if "key-of-the-ward" in one]
        assert not [one for one in requested if not one.startswith((url, "data:", "blob:"))]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 700), (400, 800)])
def test_a_refusal_is_visible_on_every_screen(
    browser: Browser, held: tuple[FakeGateway, str], width: int, height: int
) -> None:
    gateway, url = held
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(f"{url}/?job={gateway.submit(['a.png'], None).id}")
    finished(page)
    if width < 500:
        page.get_by_test_id("stExpandSidebarButton").click()
    files = [{"name": f"slice_{index}.png", "mimeType": "image/png", "buffer": b"no image"} for index in range(5)]
    page.get_by_label("Files", exact=True).set_input_files(files)
    expect(page.get_by_role("button", name="Find lesions")).to_be_enabled()
    page.get_by_role("button", name="Find lesions").click()
    refusal = page.get_by_role("alert").filter(has_text="format is not supported")
    expect(refusal).to_be_in_viewport(ratio=1)
    page.screenshot(path=SHOTS / f"refusal-{width}.png")
    covered = refusal.evaluate(
        """element => {
            const { left, top, width, height } = element.getBoundingClientRect();
            return !element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
        }"""
    )
    assert not covered
    page.get_by_role("button", name="Close").click()
    expect(refusal).to_have_count(0)
    context.close()


def test_back_and_forward_go_through_the_scans(page: Page, held: tuple[FakeGateway, str]) -> None:
    _, url = held
    main = page.get_by_test_id("stMain")
    opened(page, url).get_by_role("button", name="One large lesion").click()
    expect(main.get_by_text("Example: one large lesion")).to_be_visible()
    finished(page)
    page.get_by_role("button", name="Admin").click()
    expect(page.get_by_text("Models and service")).to_be_visible()
    page.go_back()
    expect(main.get_by_text("Example: one large lesion")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Find lesions in a brain MRI")).to_be_visible()
    page.go_forward()
    expect(main.get_by_text("Example: one large lesion")).to_be_visible()
    page.go_forward()
    expect(page.get_by_text("Models and service")).to_be_visible()


def test_a_failed_job_shows_its_reason(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.failure = ProcessingFailed("The worker ran out of memory; submit fewer slices.")
    try:
        opened(page, url).get_by_role("button", name="No lesion").click()
        expect(page.get_by_role("alert").filter(has_text="ran out of memory; submit fewer slices")).to_be_visible()
    finally:
        gateway.failure = None


def test_the_page_recovers_when_the_gateway_is_back(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    opened(page, url).get_by_role("button", name="One large lesion").click()
    finished(page)
    gateway.outage = StoreUnavailable("The object store does not answer; try again in a minute.")
    try:
        time.sleep(16)  # the page caches the registry for 15 s
        page.reload()
        expect(page.get_by_text("temporarily unavailable")).to_be_visible()
    finally:
        gateway.outage = None
    finished(page)

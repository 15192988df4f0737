"""The page as a person meets it, in a real browser.

METSEG_UI_URL names a page that runs already, however it was started; without it, the deployment is brought up.
What a healthy deployment cannot show is shown over a gateway that a test holds in its hand.
"""

import base64
import io
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from tests.fake_gateway import FakeGateway, Study, serving
from tests.pages import serving_page

from metseg import phantom
from metseg.contracts import Holder
from metseg.errors import ProcessingFailed, StoreUnavailable

CALM = (
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SOON_MS = 30_000
SEGMENTED_MS = 120_000
SIZE = (256, 256)
SHOTS = Path(__file__).parents[2] / "build" / "page"
OLDER = {"version": "20250101-000000-older", "created_at": datetime(2025, 1, 1, tzinfo=UTC)}
DISCLAIMER = "Research use only. Not a medical device."


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    return os.environ.get("METSEG_UI_URL") or request.getfixturevalue("deployment").ui_url


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    expect.set_options(timeout=SOON_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(CALM))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A visitor's browser; how it looks when the test ends is kept in build/page, to be looked at."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(SOON_MS)
    page = context.new_page()
    yield page
    page.screenshot(path=SHOTS / f"{request.node.name}.png")
    context.close()


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[FakeGateway, str]]:
    """A gateway in the test's hand, and a page over it."""
    with serving(FakeGateway(study=Study(slices=6))) as gateway, serving_page(gateway.url) as url:
        yield gateway, url


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ZIP of eight slices of a drawn head with lesions."""
    path = tmp_path_factory.mktemp("scan") / "head.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, pixels in enumerate(phantom.head(47, slices=8, lesions=2).volume.pixels, start=1):
            stored = io.BytesIO()
            Image.fromarray(pixels).save(stored, "PNG")
            archive.writestr(f"slice_{number}.png", stored.getvalue())
    return path


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    expect(page.get_by_role("button", name="Find lesions")).to_be_visible()
    return page


def send(page: Page, *files: Path) -> None:
    page.get_by_test_id("stFileUploader").locator("input[type=file]").set_input_files([str(file) for file in files])
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_enabled()
    button.click()


def finished(page: Page) -> None:
    """Waits until the shown job's result stands on the page."""
    expect(page.get_by_text("Downloads", exact=True)).to_be_visible(timeout=SEGMENTED_MS)
    expect(page.locator(".viewer[data-ready=true]")).to_be_visible(timeout=SEGMENTED_MS)


def picture(page: Page) -> Locator:
    return page.get_by_test_id("stMain").get_by_role("img", name=re.compile(r"Slice \d+ of \d+"))


def shown_slice(page: Page) -> int:
    return int(re.search(r"Slice (\d+) of", picture(page).get_attribute("aria-label") or "").group(1))


def figure(page: Page, name: str) -> str:
    return page.get_by_test_id("stMetric").filter(has_text=name).get_by_test_id("stMetricValue").inner_text()


def saved(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def test_a_visitor_without_data_sees_lesions_at_one_click(page: Page, url: str) -> None:
    opened(page, url).get_by_role("button", name="One large lesion").click()
    finished(page)
    assert int(figure(page, "Lesions")) >= 1
    expect(page.get_by_role("img", name=re.compile("Marked: lesion"))).to_be_visible()


def test_an_uploaded_scan_survives_a_reload(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    expect(page).to_have_url(re.compile(r"job=[0-9a-f-]+"))
    found = figure(page, "Lesions")
    page.reload()
    finished(page)
    assert figure(page, "Lesions") == found


def test_masks_can_be_taken_along_one_for_each_slice_and_as_large(page: Page, url: str) -> None:
    opened(page, url).get_by_role("button", name="One large lesion").click()
    finished(page)
    [total] = {int(n) for n in re.findall(r"of (\d+)", picture(page).get_attribute("aria-label") or "")}
    with zipfile.ZipFile(io.BytesIO(saved(page, "Masks, ZIP"))) as archive:
        masks = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
        assert len(masks) == total and all(name.endswith("_mask.png") for name in archive.namelist())
    assert {mask.size for mask in masks} == {SIZE}
    assert Image.open(io.BytesIO(saved(page, "This slice, PNG"))).size == SIZE
    assert b'"lesions"' in saved(page, "Report, JSON")
    assert saved(page, "Mask, NIfTI")[:2] == b"\x1f\x8b"


def look(page: Page) -> bytes:
    """What the viewer's canvas shows once it rests, the focus on it: a processor draws it here, layer by layer."""
    press(page, "Shift")  # a key that does nothing: a focus by the keyboard alone is drawn as a ring
    return _until(page, lambda now, before: now == before)


def changed(page: Page, before: bytes) -> bytes:
    """What the canvas shows once that is another picture."""
    press(page, "Shift")
    return _until(page, lambda now, _: now != before)


def unchanged(page: Page, before: bytes) -> None:
    """Wait until the canvas shows a former picture again."""
    press(page, "Shift")
    _until(page, lambda now, _: now == before)


def _until(page: Page, enough: Callable[[bytes, bytes], bool]) -> bytes:
    """The first picture, of one each half second, that is enough beside the one before."""
    last = b""
    for _ in range(60):
        now = page.locator(".viewer canvas").screenshot()
        if enough(now, last):
            return now
        last = now
        page.wait_for_timeout(500)
    raise AssertionError("the picture did not become what it had to within 30 seconds")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.locator(".viewer .stage").press(key)


def test_slices_are_turned_by_slider_key_wheel_arrow_and_lesion(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    begun, before = shown_slice(page), look(page)
    step, way = ("ArrowLeft", -1) if begun > 1 else ("ArrowRight", 1)
    page.get_by_role("slider", name="Slice").press(step)
    expect(picture(page)).to_have_attribute("aria-label", re.compile(f"Slice {begun + way} of"))
    changed(page, before)
    press(page, "ArrowUp" if way < 0 else "ArrowDown")
    expect(picture(page)).to_have_attribute("aria-label", re.compile(f"Slice {begun} of"))
    page.locator(".viewer .stage").hover()
    page.mouse.wheel(0, 100 if way < 0 else -100)
    expect(picture(page)).to_have_attribute("aria-label", re.compile(f"Slice {begun + way} of"))
    page.wait_for_timeout(1000)  # the page hears of the turned slice after a while, and draws itself anew
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    first = {"x": 20, "y": 52}
    page.get_by_test_id("stDataFrame").hover(position=first)
    page.wait_for_timeout(500)  # the table takes a click where it has seen the mouse rest
    page.get_by_test_id("stDataFrame").click(position=first)
    expect(picture(page)).to_have_attribute("aria-label", re.compile(f"Slice {begun} of"))


def test_every_key_of_the_legend_does_what_it_says(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    seen = [look(page)]
    for key in ("o", "1", "3", "m", "+", "v"):
        press(page, key)
        changed(page, seen[-1])
        seen.append(look(page))
    assert {button.inner_text() for button in page.locator('.viewer [aria-pressed="true"]').all()} == {
        "Post",
        "Fill",
        "Probability",
        "Three planes",
    }
    expect(page.locator(".viewer").get_by_text("1.3×")).to_be_visible()
    press(page, "v", "m", "0")
    expect(page.locator(".viewer").get_by_text("1.0×")).to_be_visible()
    press(page, "End", "p")
    assert "Marked: lesion" in (picture(page).get_attribute("aria-label") or "")


def test_window_and_level_change_the_picture_and_come_back(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    before = look(page)
    page.get_by_role("slider", name="Window").press("Home")
    changed(page, before)
    press(page, "0")
    unchanged(page, before)


def test_another_threshold_is_a_preview_and_says_so(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    before = look(page)
    page.get_by_role("slider", name="Threshold").press("Home")
    expect(page.get_by_role("img", name=re.compile("Preview at 0.01, stored at"))).to_be_visible()
    changed(page, before)
    page.get_by_role("button", name="Reset the threshold").click()
    expect(page.get_by_role("img", name=re.compile("Preview at"))).to_have_count(0)


def test_a_browser_without_webgl_shows_the_slices_as_pictures(browser: Browser, url: str, scan: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page = opened(context.new_page(), url)
    send(page, scan)
    expect(page.locator(".viewer[data-ready=pictures]")).to_be_visible(timeout=SEGMENTED_MS)
    expect(page.get_by_text("no WebGL2")).to_be_visible()
    shown = page.locator(".viewer img.first")
    source = shown.get_attribute("src")
    press(page, "ArrowUp" if "Slice 1 of" in (shown.get_attribute("alt") or "") else "ArrowDown")
    assert shown.get_attribute("src") != source
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    context.close()


def test_what_is_no_image_is_refused_in_clear_words(page: Page, url: str, tmp_path: Path) -> None:
    text = tmp_path / "scan.png"
    text.write_text("This is no image.")
    send(opened(page, url), text)
    expect(page.get_by_role("alert").filter(has_text=re.compile("format is not supported", re.I))).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_several_scans_stand_side_by_side_and_one_can_be_removed(
    page: Page, url: str, scan: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.zip"
    other.write_bytes(scan.read_bytes())
    send(opened(page, url), scan)
    finished(page)
    send(page, other)
    jobs = page.locator(".st-key-jobs").get_by_role("button")
    expect(jobs).to_have_count(2)
    expect(jobs.first).to_contain_text("Done", timeout=SEGMENTED_MS)
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("other.zip")).to_be_visible()
    jobs.last.click()
    expect(main.get_by_text("head.zip")).to_be_visible()
    finished(page)
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(jobs).to_have_count(1)
    expect(main.get_by_text("other.zip")).to_be_visible()
    finished(page)
    assert len(re.findall(r"job=", page.url)) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1024, 1280])
def test_the_page_asks_no_one_else_and_always_says_what_it_is_for(
    browser: Browser, url: str, width: int, theme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = opened(context.new_page(), url)
    page.get_by_role("button", name="Many small lesions").click()
    finished(page)
    page.mouse.wheel(0, 5000)
    expect(page.get_by_text(DISCLAIMER)).to_be_in_viewport()
    page.get_by_role("button", name="About the model").click()
    expect(page.get_by_role("dialog").get_by_text("Learned from")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert [one for one in asked if not one.startswith((url, "data:", "blob:"))] == []


def test_a_job_is_watched_live_and_left_alone_once_it_is_done(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.waiting_s, gateway.running_s = 3.0, 4.0
    opened(page, url).get_by_role("button", name="One large lesion").click()
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("Waiting, 2nd in line")).to_be_visible()
    expect(main.get_by_text(re.compile(r"Slice [1-6] of 6"))).to_be_visible()
    finished(page)
    gateway.waiting_s = gateway.running_s = 0
    page.wait_for_timeout(2000)
    before = len(gateway.asked)
    page.wait_for_timeout(4000)
    assert len(gateway.asked) == before


def test_slices_are_seen_before_the_last_is_done(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.running_s = 12.0
    try:
        opened(page, url).get_by_role("button", name="One large lesion").click()
        glimpse = page.get_by_role("img", name="The latest slice, with what is marked so far")
        expect(glimpse).to_be_visible()
        expect(page.get_by_test_id("stMain").get_by_text(re.compile(r"Slice [1-5] of 6"))).to_be_visible()
        assert glimpse.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        page.screenshot(path=SHOTS / "progress.png")
    finally:
        gateway.running_s = 0.0
    finished(page)


def test_a_scan_is_dropped_onto_the_page(page: Page, held: tuple[FakeGateway, str], scan: Path) -> None:
    gateway, url = held
    opened(page, url)
    dropped = page.evaluate_handle(
        """content => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], "dropped.zip"));
            return data;
        }""",
        base64.b64encode(scan.read_bytes()).decode(),
    )
    zone = page.get_by_test_id("stFileUploaderDropzone")
    for event in ("dragenter", "dragover", "drop"):
        zone.dispatch_event(event, {"dataTransfer": dropped})
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_enabled()
    button.click()
    finished(page)
    assert gateway.submissions[-1]["names"] == ["dropped.zip"]


def test_a_whole_folder_is_one_scan(page: Page, held: tuple[FakeGateway, str], tmp_path: Path) -> None:
    gateway, url = held
    folder = tmp_path / "series"
    folder.mkdir()
    for number, pixels in enumerate(phantom.head(47, slices=3).volume.pixels):
        Image.fromarray(pixels).save(folder / f"slice_{number}.png")
    opened(page, url).get_by_text("Upload a whole folder").click()
    page.locator("input[type=file][webkitdirectory]").set_input_files(str(folder))
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_enabled()
    button.click()
    finished(page)
    names = [name.split("/")[-1] for name in gateway.submissions[-1]["names"]]
    assert sorted(names) == ["slice_0.png", "slice_1.png", "slice_2.png"]


def test_a_model_is_rolled_back_and_promoted_with_a_typed_word(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    newer, older = gateway.card, gateway.card.model_copy(update=OLDER)
    gateway.others = [older]
    time.sleep(16)  # the registry is asked for every 15 s at most
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


def test_two_models_are_seen_side_by_side(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.others = [gateway.card.model_copy(update=OLDER)]
    time.sleep(16)
    try:
        opened(page, url).get_by_role("button", name="Many small lesions").click()
        finished(page)
        alone = look(page)
        page.get_by_text("Compare with another model").click()
        page.get_by_role("button", name="Run it on this scan").click()
        expect(page.get_by_text("Only the other marks")).to_be_visible()
        finished(page)
        changed(page, alone)
        page.get_by_role("button", name="Other", exact=True).click()
        changed(page, alone)
    finally:
        gateway.others = []


def test_the_history_outlives_the_address(page: Page, held: tuple[FakeGateway, str]) -> None:
    _, url = held
    opened(page, url).get_by_role("button", name="No lesion").click()
    finished(page)
    page.goto(f"{url}/?view=history")
    expect(page.get_by_role("heading", name="Your scans")).to_be_visible()
    page.get_by_role("button", name=re.compile("open_in_new")).first.click()
    finished(page)
    expect(page).to_have_url(re.compile(r"job=[0-9a-f-]+"))


def test_a_reader_signs_in_with_a_key_that_stands_in_no_address(page: Page) -> None:
    keys = {"key-of-the-ward": Holder(name="ward", scopes=["submit", "read"])}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(FakeGateway(study=Study(slices=6), keys=keys)) as gateway, serving_page(gateway.url) as url:
        page.goto(url)
        page.get_by_label("API key").fill("another")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("not known here")).to_be_visible()
        page.get_by_label("API key").fill("key-of-the-ward")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="No lesion").click()
        finished(page)
        expect(page.get_by_role("button", name="Admin")).to_have_count(0)
        assert not [one for one in asked if "key-of-the-ward" in one]
        assert not [one for one in asked if not one.startswith((url, "data:", "blob:"))]


def test_a_failed_job_tells_its_reason(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    gateway.failure = ProcessingFailed("The worker ran out of memory; submit fewer slices.")
    try:
        opened(page, url).get_by_role("button", name="No lesion").click()
        expect(page.get_by_role("alert").filter(has_text="ran out of memory; submit fewer slices")).to_be_visible()
    finally:
        gateway.failure = None


def test_the_page_recovers_by_itself_from_a_gateway_that_was_away(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    opened(page, url).get_by_role("button", name="One large lesion").click()
    finished(page)
    gateway.away = StoreUnavailable("The object store does not answer; try again in a minute.")
    try:
        time.sleep(16)  # the registry is asked for every 15 s at most
        page.reload()
        expect(page.get_by_text("not available just now")).to_be_visible()
    finally:
        gateway.away = None
    finished(page)

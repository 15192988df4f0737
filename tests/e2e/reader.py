"""What a reader does in a browser, and what the page then shows."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

SOON_MS = 30_000
SEGMENTED_MS = 120_000
SHOTS = Path(__file__).parents[2] / "build" / "page"


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

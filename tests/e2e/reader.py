"""A reader's actions in the browser, and what the page then shows."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from tests.fake_gateway import FakeGateway

SOON_MS = 30_000
SEGMENTED_MS = 120_000
SCROLL_LEVELS = 2
"""By how many grey levels two screenshots of the same picture may differ; 1 was seen, at the rounded edge."""
SHOTS = Path(__file__).parents[2] / "build" / "page"


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    expect(page.get_by_role("button", name="Find lesions")).to_be_visible()
    return page


def choose(page: Page, *files: Path) -> None:
    """Choose files in the uploader."""
    page.get_by_label("Files", exact=True).set_input_files([str(file) for file in files])


def send(page: Page, *files: Path) -> None:
    choose(page, *files)
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_enabled()
    button.click()


def finished(page: Page) -> None:
    """Wait until the result of the selected job is shown."""
    expect(page.get_by_text("Downloads", exact=True)).to_be_visible(timeout=SEGMENTED_MS)
    expect(page.locator(".viewer[data-ready=true]")).to_be_visible(timeout=SEGMENTED_MS)


def picture(page: Page) -> Locator:
    return page.get_by_test_id("stMain").get_by_role("img", name=re.compile(r"Slice \d+ of \d+"))


def shown_slice(page: Page) -> int:
    return int(re.search(r"Slice (\d+) of", picture(page).get_attribute("aria-label") or "").group(1))


def figure(page: Page, name: str | re.Pattern[str]) -> str:
    return page.get_by_test_id("stMetric").filter(has_text=name).get_by_test_id("stMetricValue").inner_text()


def saved(page: Page, name: str) -> bytes:
    """What a link or a button of this name downloads."""
    links = page.get_by_role("link", name=name, exact=True)
    with page.expect_download(timeout=60_000) as download:
        links.or_(page.get_by_role("button", name=name, exact=True)).click()
    return Path(download.value.path()).read_bytes()


def open_result(page: Page, gateway: FakeGateway, url: str) -> Page:
    """The page with the result of a new job; the viewer does not have the focus."""
    page.goto(f"{url}/?job={gateway.submit(['head.zip'], None).id}")
    finished(page)
    look(page)
    page.evaluate("document.activeElement?.blur?.()")
    return page


def look(page: Page) -> bytes:
    """The viewer's canvas once it shows nothing new, with the focus on it: without a GPU, layers appear one by one."""
    press(page, "Shift")  # a key without effect; only a focus by keyboard draws the focus ring
    return _until(page, lambda now, before: sum(same(now, one) for one in before) > 1)


def changed(page: Page, before: bytes) -> bytes:
    """The canvas once it differs from `before`."""
    press(page, "Shift")
    return _until(page, lambda now, _: not same(now, before))


def unchanged(page: Page, before: bytes) -> None:
    """Wait until the canvas looks as `before` again."""
    press(page, "Shift")
    _until(page, lambda now, _: same(now, before))


def same(one: bytes, other: bytes) -> bool:
    """Whether two screenshots look the same: where the page was scrolled in between, edges differ by a level."""
    first, second = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (one, other))
    return first.shape == second.shape and bool(np.abs(first - second).max() <= SCROLL_LEVELS)


def _until(page: Page, enough: Callable[[bytes, list[bytes]], bool]) -> bytes:
    """The first of the screenshots, one per half second, that `enough` accepts given the four before."""
    last: list[bytes] = []
    for _ in range(120):
        now = page.locator(".viewer .stage").screenshot()
        if enough(now, last):
            return now
        last = [*last[-3:], now]
        page.wait_for_timeout(500)
    raise AssertionError("the canvas did not become as expected within a minute")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.locator(".viewer .stage").press(key)

"""The page's viewer in a real browser: slices, keyboard, window, threshold, and the fallback without WebGL."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from tests.e2e.reader import (
    SEGMENTED_MS,
    changed,
    finished,
    look,
    opened,
    picture,
    press,
    send,
    shown_slice,
    unchanged,
)


def test_slices_change_by_slider_key_wheel_and_table(page: Page, url: str, scan: Path) -> None:
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
    page.wait_for_timeout(1000)  # the viewer reports the slice with a delay, and the page is redrawn
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    first = {"x": 20, "y": 52}
    page.get_by_test_id("stDataFrame").hover(position=first)
    page.wait_for_timeout(500)  # the table accepts a click only after the mouse has rested there
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
    pressed = {button.inner_text() for button in page.locator('.viewer [aria-pressed="true"]:visible').all()}
    of_two_structures = {"Both"}  # such as the starter model's; another test promotes a model of one
    assert pressed - of_two_structures == {"Post", "Fill", "Probability", "Three planes"}
    expect(page.locator(".viewer").get_by_text("1.3×")).to_be_visible()
    press(page, "v", "m", "0")
    expect(page.locator(".viewer").get_by_text("1.0×")).to_be_visible()
    press(page, "End", "p")
    assert re.search("Marked: (lesion|FLAIR abnormalit)", picture(page).get_attribute("aria-label") or "")


def test_window_and_level_change_the_picture_and_can_be_reset(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    before = look(page)
    page.get_by_role("slider", name="Window").press("Home")
    changed(page, before)
    press(page, "0")
    unchanged(page, before)


def test_another_threshold_is_shown_as_a_preview(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    before = look(page)
    page.get_by_role("slider", name="Threshold").press("Home")
    expect(page.get_by_role("img", name=re.compile("Preview at threshold 0.01"))).to_be_visible()
    changed(page, before)
    page.get_by_role("button", name="Reset threshold").click()
    expect(page.get_by_role("img", name=re.compile("Preview at threshold"))).to_have_count(0)


def test_a_browser_without_webgl_shows_the_slices_as_images(browser: Browser, url: str, scan: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page = opened(context.new_page(), url)
    send(page, scan)
    expect(page.locator(".viewer[data-ready=fallback]")).to_be_visible(timeout=SEGMENTED_MS)
    expect(page.get_by_text("does not support WebGL2")).to_be_visible()
    shown = page.locator(".viewer img.fallback")
    source = shown.get_attribute("src")
    press(page, "ArrowUp" if "Slice 1 of" in (shown.get_attribute("alt") or "") else "ArrowDown")
    assert shown.get_attribute("src") != source
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    context.close()

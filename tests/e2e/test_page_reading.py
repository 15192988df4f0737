"""Reading a scan in a real browser with a fake gateway: two sequences, sizes, colours, full screen, fingers, keys."""

import io
import itertools
import math
import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from scipy import ndimage
from tests.e2e.reader import SHOTS, changed, finished, look, open_result, opened, same, saved, shown_slice
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.pages import serving_page

from metseg.contracts import Result

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
EDGE_PX = 3
SCREENS = [(1280, 1), (1800, 2)]
"""Widths of windows, and how many pictures fit."""


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[FakeGateway, str]]:
    study = FakeStudy(seed=60, slices=16, lesions_placed=9, oedema_px=6)
    with serving(FakeGateway(study=study)) as gateway, serving_page(gateway.url) as url:
        yield gateway, url


@pytest.fixture
def result(held: tuple[FakeGateway, str]) -> Result:
    return held[0].study.result("j", held[0].card)


@pytest.fixture
def viewer(page: Page, held: tuple[FakeGateway, str]) -> Page:
    return open_result(page, *held)


def panes(page: Page) -> list[np.ndarray]:
    """The pictures that are shown, RGB, from left to right, in one size and without their edges."""
    found = page.locator(".viewer .pane:visible").all()
    pictures = [np.asarray(Image.open(io.BytesIO(one.screenshot())).convert("RGB")).astype(int) for one in found]
    rows, columns, _ = np.min([picture.shape for picture in pictures], axis=0)
    return [picture[EDGE_PX : rows - EDGE_PX, EDGE_PX : columns - EDGE_PX] for picture in pictures]


def bar_px(picture: np.ndarray) -> int:
    """The length of the scale bar; 0 without one."""
    white = (picture[-20:] > 180).all(axis=2)
    return max(int(np.ptp(np.flatnonzero(row))) + 1 if row.sum() > 20 else 0 for row in white)


def caption(page: Page) -> str:
    return page.locator(".viewer .caption").inner_text()


@pytest.mark.parametrize(("width", "count"), SCREENS)
def test_flair_is_shown_next_to_post_contrast_where_there_is_room(
    browser: Browser, held: tuple[FakeGateway, str], width: int, count: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = open_result(context.new_page(), *held)
    titles = page.locator(".viewer .pane:visible .title").all_inner_texts()
    assert titles == (["Post", "FLAIR"] if count == 2 else [""])
    page.screenshot(path=SHOTS / f"opened-at-{width}.png")
    context.close()


def test_two_sequences_show_the_same_slice_part_and_window(viewer: Page) -> None:
    viewer.keyboard.press("t")
    expect(viewer.locator(".viewer .pane:visible")).to_have_count(2)
    before = look(viewer)
    post, flair = panes(viewer)
    assert np.abs(post - flair).mean() > 1, "two sequences"
    viewer.keyboard.press("ArrowUp")
    viewer.get_by_role("slider", name="Window").press("Home")
    box = viewer.locator(".viewer .pane").nth(1).bounding_box()
    viewer.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewer.keyboard.down("Control")
    for _ in range(4):
        viewer.mouse.wheel(0, -100)
    viewer.keyboard.up("Control")
    changed(viewer, before)
    look(viewer)
    viewer.screenshot(path=SHOTS / "two-sequences.png")
    marked = [(np.ptp(one, axis=2) > 80)[40:-60] for one in panes(viewer)]
    covered = marked[0] & ndimage.binary_dilation(marked[1], iterations=2)
    assert marked[0].any() and covered.sum() > 0.95 * marked[0].sum(), "the outlines are in the same place"
    for one in panes(viewer):
        assert (np.abs(one - 128).max(axis=2) < 60).mean() < 0.05, "a narrow window leaves no grey"


def test_each_lesion_has_its_colour(viewer: Page, result: Result) -> None:
    here = result.slices[shown_slice(viewer) - 1].lesions
    assert len(here) > 1
    colors = {
        number: viewer.locator(".viewer .number").get_by_text(str(number), exact=True).evaluate("e => e.style.color")
        for number in here
    }
    assert len(set(colors.values())) == len(here)
    [picture] = panes(viewer)
    for color in colors.values():
        wanted = np.array([int(part) for part in re.findall(r"\d+", color)])
        assert (np.abs(picture - wanted).max(axis=2) < 40).sum() > 20, f"nothing is outlined in {color}"


def test_measured_diameters_are_drawn_where_they_were_measured(viewer: Page, result: Result) -> None:
    lesion = result.lesions[0]
    assert lesion.diameters.longest_slice == lesion.largest_slice == shown_slice(viewer) - 1
    drawn = panes(viewer)[0]
    viewer.get_by_role("button", name="Off", exact=True).click()
    look(viewer)
    white = (np.ptp(drawn, axis=2) < 30) & (drawn.min(axis=2) - panes(viewer)[0].min(axis=2) > 60)
    rows, columns = np.nonzero(white)
    assert len(rows) > 40, "two white lines"
    px_per_mm = (drawn.shape[0] + 2 * EDGE_PX) / (result.shape[1] * result.spacing_mm[1])
    box = [lesion.box.first[1:], lesion.box.stop[1:]]
    wanted = np.ptp(box, axis=0) * result.spacing_mm[1] * px_per_mm
    assert np.ptp(rows) < 1.2 * wanted[0] and np.ptp(columns) < 1.2 * wanted[1], "within the lesion"
    extent = math.hypot(np.ptp(rows), np.ptp(columns))
    assert extent > 0.9 * lesion.long_diameter_mm * px_per_mm
    assert f"{lesion.long_diameter_mm:.0f} × {lesion.perpendicular_diameter_mm:.0f} mm" in caption(viewer)


def test_the_ruler_measures_millimetres_at_any_zoom(viewer: Page, result: Result) -> None:
    box = viewer.locator(".viewer .stage").bounding_box()
    viewer.get_by_role("button", name="Ruler").click()
    lengths = []
    for _ in range(2):
        viewer.mouse.move(box["x"] + 200, box["y"] + 180)
        viewer.mouse.down()
        viewer.mouse.move(box["x"] + 300, box["y"] + 180, steps=4)
        viewer.mouse.up()
        expect(viewer.locator(".viewer .caption")).to_contain_text("ruler")
        look(viewer)
        lengths.append(float(re.search(r"ruler ([\d.]+) mm", caption(viewer)).group(1)))
        for _ in range(4):
            viewer.keyboard.press("+")
    viewer.screenshot(path=SHOTS / "ruler.png")
    rows_mm = result.shape[1] * result.spacing_mm[1]
    assert lengths[0] == pytest.approx(100 * rows_mm / box["height"], rel=0.02), "the picture is as high as the stage"
    assert lengths[1] == pytest.approx(lengths[0] / 2, rel=0.02), "at twice the size the same way is half as long"
    viewer.get_by_role("button", name="Ruler").click()
    expect(viewer.locator(".viewer .caption")).not_to_contain_text("ruler")


def test_the_scale_bar_is_as_long_as_it_says(viewer: Page, result: Result) -> None:
    [picture] = panes(viewer)
    assert bar_px(picture) > 20, "no bar"
    mm = bar_px(picture) * result.shape[1] * result.spacing_mm[1] / (picture.shape[0] + 2 * EDGE_PX)
    assert min(abs(mm - nice) / nice for nice in (1, 2, 5, 10, 20, 50, 100)) < 0.04


def test_nothing_is_given_in_millimetres_where_the_spacing_is_unknown(page: Page) -> None:
    study = FakeStudy(slices=6, spacing=False)
    with serving(FakeGateway(study=study)) as gateway, serving_page(gateway.url) as url:
        open_result(page, gateway, url)
        expect(page.get_by_role("button", name="Ruler")).to_be_hidden()
        assert not bar_px(panes(page)[0])
        assert " px" in caption(page) and " mm" not in caption(page)


def test_the_viewer_fills_the_screen(viewer: Page) -> None:
    before = viewer.locator(".viewer .stage").bounding_box()
    viewer.get_by_role("button", name="Full screen").click()
    expect(viewer.locator(".viewer:fullscreen")).to_be_visible()
    look(viewer)
    box = viewer.locator(".viewer .stage").bounding_box()
    assert box["width"] > 1.5 * before["width"] and box["height"] > 1.1 * before["height"]
    viewer.keyboard.press("n")
    expect(viewer.locator(".viewer .caption")).to_contain_text("lesion 2 of")
    viewer.keyboard.press("f")
    expect(viewer.locator(".viewer:fullscreen")).to_have_count(0)


def test_the_keys_of_the_viewer_are_not_also_those_of_the_library_below(viewer: Page) -> None:
    viewer.locator(".viewer .stage").click()
    before = look(viewer)
    viewer.keyboard.press("v")
    planes = changed(viewer, before)
    assert not same(look(viewer), before)
    viewer.keyboard.press("v")
    changed(viewer, planes)
    assert same(look(viewer), before)
    for key in ("c", "h", "l", "j", "k"):
        viewer.keyboard.press(key)
    viewer.wait_for_timeout(500)
    assert same(look(viewer), before)


def test_two_sequences_are_saved_in_one_picture(viewer: Page) -> None:
    viewer.keyboard.press("t")
    expect(viewer.locator(".viewer .pane:visible")).to_have_count(2)
    look(viewer)
    picture = np.asarray(Image.open(io.BytesIO(saved(viewer, "This slice, PNG"))).convert("RGB")).astype(int)
    box = viewer.locator(".viewer .stage").bounding_box()
    assert picture.shape[:2] == (round(box["height"]), round(box["width"]))
    middle = picture.shape[1] // 2
    assert all((half[100:-100].max(axis=2) > 60).mean() > 0.1 for half in (picture[:, :middle], picture[:, middle:]))


@pytest.fixture
def phone(browser: Browser, held: tuple[FakeGateway, str]) -> Iterator[Page]:
    context = browser.new_context(**PHONE)
    yield open_result(context.new_page(), *held)
    context.close()


def move_fingers(page: Page, *paths: list[tuple[float, float]]) -> None:
    """Put fingers on the picture, move each along its path (relative to the picture), and lift them."""
    box = page.locator(".viewer .stage").bounding_box()
    session = page.context.new_cdp_session(page)
    for step, positions in enumerate(zip(*paths, strict=True)):
        points = [{"x": box["x"] + x, "y": box["y"] + y, "id": index} for index, (x, y) in enumerate(positions)]
        session.send("Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def line(start: tuple[float, float], stop: tuple[float, float]) -> list[tuple[float, float]]:
    return [tuple(np.linspace(start, stop, 12)[index]) for index in range(12)]


def test_a_finger_swipes_through_the_slices_of_a_phone(phone: Page) -> None:
    before = shown_slice(phone)
    move_fingers(phone, line((250, 200), (150, 200)))
    expect(phone.locator(".viewer .caption")).to_contain_text(f"Slice {before + 5} of")
    move_fingers(phone, line((150, 200), (190, 200)))
    expect(phone.locator(".viewer .caption")).to_contain_text(f"Slice {before + 3} of")
    phone.screenshot(path=SHOTS / "phone.png", full_page=True)


def test_two_fingers_zoom_and_one_then_moves_the_picture(phone: Page) -> None:
    slice_before, before = shown_slice(phone), look(phone)
    move_fingers(phone, line((160, 200), (80, 200)), line((200, 200), (280, 200)))
    expect(phone.locator(".viewer")).to_contain_text("5.0×")
    zoomed = changed(phone, before)
    move_fingers(phone, line((180, 200), (120, 160)))
    changed(phone, zoomed)
    assert shown_slice(phone) == slice_before


def test_a_phone_shows_all_without_scrolling_sideways(phone: Page, result: Result) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]
    expect(phone.locator(".viewer .keys .touch")).to_contain_text("Swipe: slice")
    expect(phone.locator(".viewer .keys .mouse").first).to_be_hidden()
    for text in (f"{len(result.lesions)}", "Downloads"):
        expect(phone.get_by_test_id("stMain").get_by_text(text, exact=True).first).to_be_attached()
    outside = [
        one.inner_text()
        for one in itertools.chain(phone.locator(".viewer button:visible").all())
        if (box := one.bounding_box()) and box["x"] + box["width"] > PHONE["viewport"]["width"]
    ]
    assert outside == []


def test_all_of_a_result_is_reached_by_the_keyboard_alone(page: Page, held: tuple[FakeGateway, str]) -> None:
    _, url = held
    opened(page, url)
    tab_to(page, "One large lesion")
    page.keyboard.press("Enter")
    finished(page)
    look(page)
    page.evaluate("document.activeElement?.blur?.()")
    page.keyboard.press("n")
    expect(page.locator(".viewer .caption")).to_contain_text("lesion 2 of")
    page.keyboard.press("t")
    expect(page.locator(".viewer .pane:visible")).to_have_count(2)
    tab_to(page, "This slice, PNG")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to(page, "Masks, ZIP")
    with page.expect_download():
        page.keyboard.press("Enter")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until a button or a link has the focus."""
    wanted = page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name))
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.evaluate("e => e.getRootNode().activeElement === e"):
            return
    raise AssertionError(f"{name} is not reached by Tab")

"""Lesions in the page's viewer, in a real browser with a fake gateway: zoom, planes, numbers, maps, previews, keys."""

import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from scipy import ndimage
from tests.e2e.reader import (
    SHOTS,
    changed,
    finished,
    look,
    open_result,
    opened,
    picture,
    press,
    same,
    saved,
    shown_slice,
)
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.pages import serving_page

from metseg.contracts import Lesion, Result
from metseg.imaging import lesions, select_components
from metseg_ui.components.viewer import LESION_COLORS

SMALLEST_PX = 100
CROSSHAIR = (245, 196, 84)


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[FakeGateway, str]]:
    """A study with many lesions; those below 100 voxels are not part of its result."""
    study = FakeStudy(seed=60, slices=16, lesions_placed=9, min_voxels=SMALLEST_PX)
    with serving(FakeGateway(study=study)) as gateway, serving_page(gateway.url) as url:
        yield gateway, url


@pytest.fixture
def gateway(held: tuple[FakeGateway, str]) -> FakeGateway:
    return held[0]


@pytest.fixture
def result(gateway: FakeGateway) -> Result:
    return gateway.study.result("j", gateway.card)


@pytest.fixture
def viewer(page: Page, held: tuple[FakeGateway, str]) -> Page:
    return open_result(page, *held)


def stage(page: Page) -> np.ndarray:
    """The displayed picture, RGB."""
    png = page.locator(".viewer .stage").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def share_above(page: Page, value: int) -> float:
    """The share of pixels brighter than a value."""
    return float((stage(page).max(axis=2) > value).mean())


def click_lesion(page: Page, row: int) -> None:
    """Click a lesion in the table; row 0 is lesion 1."""
    at = {"x": 20, "y": 52 + 35 * row}
    table = page.get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    table.hover(position=at)
    page.wait_for_timeout(500)  # the table accepts a click only after the mouse has rested there
    table.click(position=at)


def caption(page: Page) -> str:
    return page.locator(".viewer .caption").inner_text()


def number(page: Page, lesion: int) -> tuple[float, float]:
    """The position of a lesion's number, in pixels of the stage."""
    box = page.locator(".viewer .number").get_by_text(str(lesion), exact=True).bounding_box()
    frame = page.locator(".viewer .stage").bounding_box()
    return box["x"] - frame["x"], box["y"] + box["height"] - frame["y"]


def outline_pixels(page: Page, lesion: int) -> np.ndarray:
    """(row, column) of pixels in the colour of a lesion's outline."""
    color = LESION_COLORS[(lesion - 1) % len(LESION_COLORS)]
    return np.argwhere(np.abs(stage(page) - color).max(axis=2) < 60)


def test_zoom_keeps_the_selected_lesion_in_view(viewer: Page) -> None:
    click_lesion(viewer, 5)
    expect(viewer.locator(".viewer .caption")).to_contain_text("lesion 6")
    before = number(viewer, 6)
    for _ in range(28):
        viewer.keyboard.press("+")
    expect(viewer.locator(".viewer").get_by_text("8.0×")).to_be_visible()
    look(viewer)
    assert share_above(viewer, 24) > 0.5
    viewer.keyboard.press("0")
    look(viewer)
    assert number(viewer, 6) == pytest.approx(before, abs=1)


def test_the_wheel_zooms_about_the_pointer(viewer: Page) -> None:
    (left, top), box = number(viewer, 1), viewer.locator(".viewer .stage").bounding_box()
    viewer.mouse.move(box["x"] + left, box["y"] + top)
    viewer.keyboard.down("Control")
    for _ in range(8):
        viewer.mouse.wheel(0, -100)
    viewer.keyboard.up("Control")
    expect(viewer.locator(".viewer").get_by_text("3.0×")).to_be_visible()
    look(viewer)
    assert number(viewer, 1) == pytest.approx((left, top), abs=12)


@pytest.mark.parametrize("zoom", [0, 8])
def test_a_drag_never_moves_the_picture_out_of_view(viewer: Page, zoom: int) -> None:
    for _ in range(zoom):
        viewer.keyboard.press("+")
    box = viewer.locator(".viewer .stage").bounding_box()
    for _ in range(6):
        viewer.mouse.move(box["x"] + 40, box["y"] + 40)
        viewer.mouse.down()
        viewer.mouse.move(box["x"] + box["width"] - 10, box["y"] + box["height"] - 10, steps=5)
        viewer.mouse.up()
    look(viewer)
    assert share_above(viewer, 1) > 0.15


def crosshair(page: Page) -> tuple[int, int]:
    """(column, row) of the crosshair in the first of three planes."""
    pixels = stage(page)
    marked = np.abs(pixels - CROSSHAIR).max(axis=2) < 40
    upper = marked[: marked.shape[0] // 2]
    return int(upper.sum(axis=0).argmax()), int(upper.sum(axis=1).argmax())


@pytest.mark.parametrize("first", ["planes", "lesion"])
def test_three_planes_show_the_lesion_that_was_clicked(viewer: Page, result: Result, first: str) -> None:
    assert 1 in result.slices[result.lesions[5].largest_slice].lesions, "lesion 6 shares its slice with lesion 1"
    if first == "planes":
        viewer.keyboard.press("v")
        click_lesion(viewer, 5)
    else:
        click_lesion(viewer, 5)
        expect(viewer.locator(".viewer .caption")).to_contain_text("lesion 6")
        viewer.keyboard.press("v")
    expect(viewer.locator(".viewer .caption")).to_contain_text("lesion 6")
    viewer.mouse.move(5, 5)
    look(viewer)
    column, row = crosshair(viewer)
    left, top = number(viewer, 6)
    assert abs(column - left) < 25 and abs(row - top) < 25


def test_three_planes_open_on_a_lesion(viewer: Page) -> None:
    viewer.keyboard.press("v")
    look(viewer)
    column, row = crosshair(viewer)
    left, top = number(viewer, 1)
    assert abs(column - left) < 40 and abs(row - top) < 60
    viewer.screenshot(path=SHOTS / "three-planes.png")


def test_outlines_are_closed_in_every_plane(viewer: Page) -> None:
    press(viewer, "n", "v")
    look(viewer)
    marked = np.zeros(stage(viewer).shape[:2], bool)
    marked[tuple(outline_pixels(viewer, 2).T)] = True
    for plane in np.array_split(marked[marked.shape[0] * 58 // 100 :], 2):
        largest = max(ndimage.find_objects(ndimage.label(plane, np.ones((3, 3)))[0]), key=lambda box: plane[box].sum())
        inside = ndimage.binary_fill_holes(plane[largest]) & ~plane[largest]
        assert inside.sum() > plane[largest].sum() / 3, "an outline encloses its lesion"


def test_a_number_stands_at_its_lesion(viewer: Page, result: Result) -> None:
    numbers = viewer.locator(".viewer .number").all_inner_texts()
    here = result.slices[shown_slice(viewer) - 1].lesions
    assert sorted(map(int, numbers)) == sorted(here)
    for each in here:
        left, top = number(viewer, each)
        outlines = outline_pixels(viewer, each)
        nearest = np.hypot(outlines[:, 0] - top, outlines[:, 1] - left).min()
        assert nearest < 12, f"lesion {each} is {nearest:.0f} px from its number"


def test_a_map_that_was_switched_off_while_it_loaded_stays_off(viewer: Page) -> None:
    before = look(viewer)
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    viewer.route("**/probability", hold)
    buttons = {
        name: viewer.get_by_role("button", name=name, exact=True)
        for name in ("Probability", "No map", "Fill", "Outline")
    }
    for name in ("Probability", "Fill", "Outline", "No map", "Probability", "No map"):
        buttons[name].click()
        viewer.wait_for_timeout(50)
    viewer.wait_for_timeout(300)
    assert len(waiting) == 1, "one fetch, however often it is requested"
    waiting[0].continue_()
    viewer.wait_for_timeout(3000)
    assert same(look(viewer), before)
    buttons["Probability"].click()
    viewer.wait_for_timeout(1500)
    assert not same(look(viewer), before)
    buttons["No map"].click()
    viewer.wait_for_timeout(1500)
    assert same(look(viewer), before)


def test_a_map_that_failed_to_load_is_loaded_when_it_is_chosen_again(viewer: Page) -> None:
    before = look(viewer)
    viewer.route("**/probability", lambda route: route.fulfill(status=503, body="away"))
    viewer.get_by_role("button", name="Probability", exact=True).click()
    expect(viewer.locator(".viewer .status")).to_contain_text("Choose it again to retry")
    expect(viewer.get_by_role("button", name="No map", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(viewer.locator(".viewer[data-ready=true]")).to_be_visible()
    viewer.unroute("**/probability")
    viewer.get_by_role("button", name="Probability", exact=True).click()
    expect(viewer.locator(".viewer .status")).to_be_hidden()
    assert not same(look(viewer), before)


def expected_at(study: FakeStudy, threshold: float) -> list[Lesion]:
    mask = select_components(2 * (study.probability >= threshold).astype(np.uint8), SMALLEST_PX)
    return lesions.measure(mask, study.spacing_mm, study.probability)


@pytest.mark.parametrize("key", ["Home", "End"])
def test_a_preview_has_the_lesions_that_a_result_would_have(viewer: Page, gateway: FakeGateway, key: str) -> None:
    viewer.get_by_role("slider", name="Threshold").press(key)
    threshold = {"Home": 0.01, "End": 0.99}[key]
    count = len(expected_at(gateway.study, threshold))
    unfiltered = len(lesions.measure(gateway.study.probability >= threshold, None, gateway.study.probability))
    assert key == "Home" or unfiltered > count, "the filter matters"
    noun = "lesion" if count == 1 else "lesions"
    note = viewer.locator(".viewer .note")
    expect(note).to_contain_text(f"Preview at threshold {threshold:.2f}: {count} {noun} (stored: 0.50,")
    expect(note).to_contain_text(f"Areas below {SMALLEST_PX} px are left out")


def test_level_and_window_follow_a_right_drag(viewer: Page) -> None:
    slider = viewer.get_by_role("slider", name="Window")
    before = slider.input_value()
    box = viewer.locator(".viewer .stage").bounding_box()
    viewer.mouse.move(box["x"] + 100, box["y"] + 100)
    viewer.mouse.down(button="right")
    viewer.mouse.move(box["x"] + 150, box["y"] + 140, steps=5)
    viewer.mouse.up(button="right")
    expect(slider).not_to_have_value(before)


def test_keys_work_without_focus_and_go_from_lesion_to_lesion(viewer: Page, result: Result) -> None:
    for expected in (2, 3, 2, 1, len(result.lesions)):
        current = int(re.search(r"lesion (\d+)", caption(viewer)).group(1))
        viewer.keyboard.press("n" if expected == current + 1 else "p")
        expect(viewer.locator(".viewer .caption")).to_contain_text(f"lesion {expected} of {len(result.lesions)}")
        assert shown_slice(viewer) == result.lesions[expected - 1].largest_slice + 1
    viewer.keyboard.press("ArrowDown" if shown_slice(viewer) > 1 else "ArrowUp")
    click_lesion(viewer, 1)
    expect(viewer.locator(".viewer .caption")).to_contain_text("lesion 2 of")
    viewer.keyboard.press("n")
    expect(viewer.locator(".viewer .caption")).to_contain_text("lesion 3 of")


@pytest.mark.parametrize("style", ["Fill", "Probability"])
def test_a_layer_that_is_switched_off_leaves_no_trace(viewer: Page, style: str) -> None:
    before = look(viewer)
    viewer.get_by_role("button", name=style, exact=True).click()
    viewer.wait_for_timeout(1500)
    assert not same(look(viewer), before)
    viewer.get_by_role("button", name={"Fill": "Outline", "Probability": "No map"}[style], exact=True).click()
    viewer.wait_for_timeout(1500)
    assert same(look(viewer), before)


def test_keys_typed_into_a_field_do_not_reach_the_viewer(viewer: Page) -> None:
    before = picture(viewer).get_attribute("aria-label")
    viewer.get_by_text("Set the threshold manually").click()
    viewer.get_by_role("slider", name="Threshold for this upload").press("ArrowRight")
    viewer.wait_for_timeout(500)
    assert picture(viewer).get_attribute("aria-label") == before


def test_mouse_actions_are_listed(viewer: Page) -> None:
    for words in ("wheel: slice", "Ctrl + wheel: zoom", "drag: move", "right drag: level, window"):
        expect(viewer.locator(".viewer .keys")).to_contain_text(words)


def test_the_slice_is_saved_as_it_is_shown(viewer: Page) -> None:
    pictures = []
    for key in ("1", "3"):
        viewer.keyboard.press(key)
        look(viewer)
        pictures.append(np.asarray(Image.open(io.BytesIO(saved(viewer, "This slice, PNG"))).convert("RGB")).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() > 1
    shown = stage(viewer)
    rows, columns, _ = np.minimum(pictures[1].shape, shown.shape)
    assert np.ptp([pictures[1].shape, shown.shape], axis=0).max() <= 1, "a screenshot is rounded to whole pixels"
    picture_part = (slice(60, rows - 60), slice(columns))
    assert np.corrcoef(pictures[1][picture_part].ravel(), shown[picture_part].ravel())[0, 1] > 0.97


def test_the_abnormality_around_the_tumour_is_outlined_too(page: Page) -> None:
    study = FakeStudy(seed=60, slices=6, lesions_placed=2, oedema_px=9)
    with serving(FakeGateway(study=study)) as gateway, serving_page(gateway.url) as url:
        job = gateway.submit(["head.zip"], None).id
        finished(opened(page, f"{url}/?job={job}"))
        both = look(page)
        page.screenshot(path=SHOTS / "core-and-whole.png")
        masks = page.get_by_role("group", name="Masks")
        masks.get_by_role("button", name="Tumour", exact=True).click()
        changed(page, both)
        tumour = look(page)
        masks.get_by_role("button", name="Whole", exact=True).click()
        changed(page, tumour)
        assert not same(look(page), both)

"""A review by keyboard alone, in a real browser with a fake gateway: no pointer is ever moved."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from tests.e2e.reader import SHOTS, finished, look, opened, shown_slice
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.pages import serving_page

MAX_TABS = 200
FOCUSED = """() => {
    let element = document.activeElement;
    while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    return element?.getAttribute("aria-label") ?? element?.textContent ?? "";
}"""


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[FakeGateway, str]]:
    study = FakeStudy(seed=60, slices=12, lesions_placed=5, oedema_px=5)
    with serving(FakeGateway(study=study)) as gateway, serving_page(gateway.url) as url:
        yield gateway, url


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until the control of that name has the focus."""
    for _ in range(MAX_TABS):
        if re.fullmatch(name, page.evaluate(FOCUSED).strip()):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"{name} cannot be reached by Tab")


def status(page: Page) -> Locator:
    return page.locator(".review [role=status]")


def test_a_whole_review_needs_no_pointer(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    job = gateway.submit(["head.zip"], None).id
    result = gateway.study.result(job, gateway.card)
    finished(opened(page, f"{url}/?job={job}"))
    look(page)
    tab_to(page, "Review", back=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_visible()

    tab_to(page, "Reject lesion 2")
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUSED) == "Keep lesion 2", "the focus stays in the row"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    tab_to(page, "Label of lesion 3")
    page.keyboard.type("left frontal, n and b")
    for number in (4, 5):
        tab_to(page, f"Select lesion {number}")
        page.keyboard.press("Space")
    tab_to(page, "Join selected")
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox", name="Target").first).to_be_checked()
    page.get_by_role("checkbox", name="Target").first.focus()  # a checkbox in a label, without a name of its own here
    page.keyboard.press("Space")

    look(page)
    page.keyboard.press("b")
    index = shown_slice(page) - 1
    for key in [*["Shift+ArrowLeft"] * 12, *["Shift+ArrowUp"] * 7]:
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    look(page)
    page.screenshot(path=SHOTS / "keyboard-brush.png")
    tab_to(page, "Apply", back=True)
    page.keyboard.press("Enter")
    expect(page.locator(".viewer[data-review='1']")).to_be_visible()

    review, answer = gateway.review(job).review, gateway.answers[job]
    assert [each.voxel for each in review.lesions if each.decision == "reject"] == [result.lesions[1].peak]
    assert {each.label for each in review.lesions} - {None} == {"left frontal, n and b"}
    assert [each.target for each in review.lesions if each.voxel == result.lesions[0].peak] == [False]
    assert review.joined == [[result.lesions[3].peak, result.lesions[4].peak]]
    added = np.argwhere(answer.masks["core"] & ~gateway.study.mask)
    assert set(added[:, 0]) <= {index} and len(added) > 10, "one stroke, in the slice that was shown"

    tab_to(page, "Threshold")
    page.keyboard.press("Home")
    tab_to(page, "Apply", back=True)
    page.keyboard.press("Enter")
    expect(page.locator(".viewer[data-review='2']")).to_be_visible()
    assert gateway.review(job).review.thresholds["core"] == pytest.approx(0.01)


def test_the_brush_goes_where_the_arrows_point_and_draws_there(page: Page, held: tuple[FakeGateway, str]) -> None:
    gateway, url = held
    job = gateway.submit(["head.zip"], None).id
    finished(opened(page, f"{url}/?job={job}"))
    look(page)
    places = []
    for number, keys in enumerate((["Shift+ArrowRight"] * 30, ["Shift+ArrowDown"] * 20)):
        page.keyboard.press("b")
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        before = gateway.study.mask if not number else gateway.answers[job].masks["core"]
        tab_to(page, "Apply", back=True)
        page.keyboard.press("Enter")
        expect(page.locator(f".viewer[data-review='{number + 1}']")).to_be_visible()
        added = gateway.answers[job].masks["core"] & ~before
        places.append(np.argwhere(added)[:, 1:].mean(axis=0))
        look(page)
    assert places[1] - places[0] == pytest.approx((20, -30), abs=3), "from the same lesion, 30 right and 20 down"

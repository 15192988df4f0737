"""Reviewing a result in a real browser with a fake gateway: lesions, threshold, brush and eraser."""

import gzip
import io
import json
from collections.abc import Iterator

import nibabel
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from tests.e2e.reader import SHOTS, changed, finished, look, opened, saved, shown_slice
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.pages import serving_page

from metseg.contracts import LesionDecision, Result, Review
from metseg.imaging import Mask
from metseg_ui.components.viewer import LESION_COLORS

RADIUS_MM = 3.0
SOMEWHERE = (250, 90)
"""In the head, where no lesion is; in pixels of the stage."""


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[FakeGateway, str]]:
    study = FakeStudy(seed=60, slices=12, lesions_placed=5, oedema_px=5)
    with serving(FakeGateway(study=study)) as gateway, serving_page(gateway.url) as url:
        yield gateway, url


@pytest.fixture
def gateway(held: tuple[FakeGateway, str]) -> FakeGateway:
    return held[0]


@pytest.fixture
def job(gateway: FakeGateway) -> str:
    return gateway.submit(["head.zip"], None).id


@pytest.fixture
def result(gateway: FakeGateway, job: str) -> Result:
    return gateway.study.result(job, gateway.card)


@pytest.fixture
def viewer(page: Page, held: tuple[FakeGateway, str], job: str) -> Page:
    """The page with the review opened."""
    finished(opened(page, f"{held[1]}/?job={job}"))
    page.get_by_role("button", name="Review", exact=True).click()
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_visible()
    look(page)
    return page


def apply(page: Page, gateway: FakeGateway, job: str) -> Result:
    """Apply the review; the reviewed result once the page shows it."""
    number = gateway.review(job).number
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.locator(f".viewer[data-review='{number + 1}']")).to_be_visible()
    expect(page.get_by_test_id("stMain").get_by_text("Reviewed by ward").first).to_be_visible()
    return gateway.answers[job].result


def stored_mask(page: Page) -> Mask:
    """The mask that the reader downloads, (slice, row, column)."""
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(saved(page, "Core mask, NIfTI")))
    return np.asarray(image.dataobj).T > 0


def voxel_at(page: Page, result: Result, x: float, y: float) -> tuple[int, int]:
    """(row, column) of the voxel that is drawn at a point of the stage: the picture fits it, and is in its middle."""
    box, (_, rows, columns) = page.locator(".viewer .stage").bounding_box(), result.shape
    scale = min(box["width"] / columns, box["height"] / rows)
    return int((y - box["height"] / 2) / scale + rows / 2), int((x - box["width"] / 2) / scale + columns / 2)


def stroke(page: Page, x: float, y: float, to: tuple[float, float] | None = None) -> None:
    look(page)  # a stroke goes where the picture is, so that has to be drawn after a change of the tools
    box = page.locator(".viewer .stage").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.down()
    page.mouse.move(box["x"] + x + 1, box["y"] + y)
    if to:
        page.mouse.move(box["x"] + to[0], box["y"] + to[1], steps=6)
    page.mouse.up()


def test_a_rejected_a_named_and_a_target_lesion_change_table_and_downloads(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    viewer.get_by_role("button", name="Reject lesion 2", exact=True).click()
    viewer.get_by_label("Label of lesion 1", exact=True).fill("left frontal")
    viewer.get_by_role("checkbox", name="Target").first.uncheck()
    reviewed = apply(viewer, gateway, job)
    viewer.screenshot(path=SHOTS / "reviewed.png")
    assert len(reviewed.lesions) == len(result.lesions) - 1 and len(reviewed.rejected) == 1
    assert reviewed.rejected[0].box == result.lesions[1].box
    assert (reviewed.lesions[0].label, reviewed.lesions[0].target) == ("left frontal", False)
    expect(viewer.locator(".viewer .caption")).to_contain_text("left frontal")
    assert len(json.loads(saved(viewer, "Result, JSON"))["lesions"]) == len(reviewed.lesions)
    assert not stored_mask(viewer)[result.lesions[1].peak]
    viewer.get_by_role("button", name="Keep lesion rejected").click()
    assert len(apply(viewer, gateway, job).lesions) == len(result.lesions)
    assert "left frontal" in [decision.label for decision in gateway.review(job).review.lesions]


def test_a_brush_stroke_and_an_eraser_stroke_end_up_at_their_voxels(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    index, before = shown_slice(viewer) - 1, stored_mask(viewer)
    viewer.get_by_role("button", name="Brush", exact=True).click()
    stroke(viewer, *SOMEWHERE)
    row, column = voxel_at(viewer, result, *SOMEWHERE)
    viewer.keyboard.press("e")
    _, peak_row, peak_column = result.lesions[0].peak
    number = viewer.locator(".viewer .number").get_by_text("1", exact=True)
    expect(number).to_be_visible()
    box = viewer.locator(".viewer .stage").bounding_box()
    scale = min(box["width"] / result.shape[2], box["height"] / result.shape[1])
    middle = np.argwhere(before[index] & inside(result, 0, before[index])).mean(axis=0)
    stroke(
        viewer,
        (middle[1] + 0.5 - result.shape[2] / 2) * scale + box["width"] / 2,
        (middle[0] + 0.5 - result.shape[1] / 2) * scale + box["height"] / 2,
    )
    look(viewer)
    viewer.screenshot(path=SHOTS / "strokes.png")
    apply(viewer, gateway, job)
    after = stored_mask(viewer)
    assert after[index, row, column] and not before[index, row, column]
    assert not after[index][tuple(middle.astype(int))], (peak_row, peak_column)
    changed = np.argwhere(before != after)
    assert set(changed[:, 0]) == {index}, "a stroke changes its slice alone"
    radius_px = RADIUS_MM / result.spacing_mm[1]
    near = [np.hypot(changed[:, 1] - y, changed[:, 2] - x) for y, x in ((row, column), middle)]
    assert np.minimum(*near).max() < radius_px + 2
    added = int((after & ~before).sum())
    assert added == pytest.approx(np.pi * radius_px**2, rel=0.5)


def inside(result: Result, index: int, plane: np.ndarray) -> np.ndarray:
    """Where in a slice the bounding box of a lesion is."""
    (_, top, left), (_, bottom, right) = result.lesions[index].box.first, result.lesions[index].box.stop
    marked = np.zeros_like(plane)
    marked[top:bottom, left:right] = True
    return marked


def turned(degrees: float) -> np.ndarray:
    """An affine of axial slices, turned about the axis from left to right."""
    angle = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag((-0.9, -0.9, 5))
    return affine


AFFINES = {
    "sagittal": np.array([[0, 0, 5, 0], [0.9, 0, 0, 0], [0, -0.9, 0, 0], [0, 0, 0, 1]]),
    "coronal": np.array([[-0.9, 0, 0, 0], [0, 0, -5, 0], [0, -0.9, 0, 0], [0, 0, 0, 1]]),
    "axial from above": np.diag((0.9, 0.9, -5.0, 1.0)),
    "oblique": turned(20),
}


@pytest.mark.parametrize("name", AFFINES)
def test_strokes_are_in_place_in_every_orientation(
    page: Page, held: tuple[FakeGateway, str], job: str, result: Result, name: str
) -> None:
    gateway, url = held
    gateway.study.affine = AFFINES[name]
    try:
        finished(opened(page, f"{url}/?job={job}"))
        look(page)
        outline = Image.open(io.BytesIO(page.locator(".viewer .stage").screenshot())).convert("RGB")
        found = np.argwhere(np.abs(np.asarray(outline).astype(int) - LESION_COLORS[0]).max(axis=2) < 30)
        index, before = shown_slice(page) - 1, gateway.study.mask
        page.keyboard.press("e")
        stroke(page, *(found.min(axis=0) + found.max(axis=0))[::-1] / 2)
        look(page)
        page.screenshot(path=SHOTS / f"erased-{name}.png")
        apply(page, gateway, job)
    finally:
        gateway.study.affine = None
    erased = np.argwhere(before & ~gateway.answers[job].masks["core"])
    middle = np.argwhere(before[index] & inside(result, 0, before[index])).mean(axis=0)
    assert len(erased) > 10 and set(erased[:, 0]) == {index}
    assert np.hypot(*(erased[:, 1:].mean(axis=0) - middle)) < 4, "in the middle of the lesion"


def test_a_ball_extends_through_the_slices_and_undo_takes_it_back(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    before, index = stored_mask(viewer), shown_slice(viewer) - 1
    viewer.get_by_role("button", name="Brush", exact=True).click()
    stroke(viewer, SOMEWHERE[0] - 60, SOMEWHERE[1] + 40)
    viewer.keyboard.press("u")
    expect(viewer.get_by_role("button", name="Undo")).to_be_disabled()
    viewer.get_by_role("button", name="Ball", exact=True).click()
    viewer.get_by_role("slider", name="Radius").press("End")
    stroke(viewer, *SOMEWHERE)
    apply(viewer, gateway, job)
    added = stored_mask(viewer) & ~before
    row, column = voxel_at(viewer, result, *SOMEWHERE)
    reach = int(15 // result.spacing_mm[0])
    assert reach >= 1 and set(np.flatnonzero(added.any(axis=(1, 2)))) == set(
        range(index - reach, index + reach + 1)
    ) & set(range(result.shape[0]))
    away = np.argwhere(added)[:, 1:] - (row, column)
    assert np.hypot(*away.T).max() < 15 / result.spacing_mm[1] + 2, "what was undone is not there"
    assert np.all(gateway.answers[job].masks["whole"][added]), "the core stays within the whole"


def test_a_moved_threshold_is_applied(viewer: Page, gateway: FakeGateway, job: str, result: Result) -> None:
    viewer.get_by_role("slider", name="Threshold").press("Home")
    reviewed = apply(viewer, gateway, job)
    assert reviewed.threshold == pytest.approx(0.01)
    assert reviewed.structures["core"].voxels > result.structures["core"].voxels
    expect(viewer.locator(".viewer .note")).to_be_empty()


def test_joined_lesions_count_as_one_and_can_be_separated(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    for number in (1, 2):
        viewer.get_by_role("checkbox", name=f"Select lesion {number}", exact=True).check()
    viewer.get_by_role("button", name="Join selected").click()
    reviewed = apply(viewer, gateway, job)
    assert len(reviewed.lesions) == len(result.lesions) - 1
    assert reviewed.lesions[0].voxels == result.lesions[0].voxels + result.lesions[1].voxels
    viewer.keyboard.press("n")
    expect(viewer.locator(".viewer .caption")).to_contain_text(f"of {len(reviewed.lesions)}")
    viewer.get_by_role("button", name="Separate").first.click()
    assert len(apply(viewer, gateway, job).lesions) == len(result.lesions)


def test_the_models_own_answer_can_be_gone_back_to(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    viewer.get_by_role("button", name="Reject lesion 1", exact=True).click()
    apply(viewer, gateway, job)
    expect(viewer.get_by_text(f"The model: {len(result.lesions)} lesions")).to_be_visible()
    reviewed = look(viewer)
    viewer.get_by_role("button", name="Model's", exact=True).click()
    changed(viewer, reviewed)
    viewer.screenshot(path=SHOTS / "model-and-review.png")
    viewer.get_by_role("button", name="Back to the model's answer").click()
    expect(viewer.get_by_text("The model's answer is in force")).to_be_visible()
    expect(viewer.get_by_role("button", name="Reject lesion 1", exact=True)).to_be_visible()
    assert stored_mask(viewer).sum() == gateway.study.mask.sum()


def test_two_reviews_at_once_lose_nothing_of_either(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    other = LesionDecision(voxel=result.lesions[1].peak, decision="reject")
    gateway.put_review(job, Review(lesions=[other]), '"0"')
    viewer.get_by_role("button", name="Reject lesion 1", exact=True).click()
    viewer.get_by_label("Label of lesion 3", exact=True).fill("left frontal")
    viewer.get_by_role("button", name="Brush", exact=True).click()
    stroke(viewer, *SOMEWHERE)
    viewer.get_by_role("button", name="Apply", exact=True).click()
    expect(viewer.get_by_text("Someone else has reviewed this scan meanwhile (Reviewed by ward")).to_be_visible()
    viewer.screenshot(path=SHOTS / "two-reviews.png")
    assert [each.decision for each in gateway.review(job).review.lesions] == ["reject"], "theirs is in force"
    expect(viewer.get_by_role("button", name="Keep lesion 1", exact=True)).to_be_visible()
    expect(viewer.get_by_role("button", name="Apply", exact=True)).to_be_disabled()
    viewer.get_by_role("button", name="Load that review, keep my changes").click()
    expect(viewer.locator(".viewer[data-review='1']")).to_be_visible()
    index = shown_slice(viewer) - 1
    assert len(apply(viewer, gateway, job).rejected) == 2
    core, review = gateway.answers[job].masks["core"], gateway.review(job).review
    assert not core[result.lesions[0].peak] and not core[result.lesions[1].peak], "mine and theirs"
    assert "left frontal" in [each.label for each in review.lesions]
    assert core[index, *voxel_at(viewer, result, *SOMEWHERE)], "my stroke"


def test_my_changes_can_be_discarded_for_another_readers_review(
    viewer: Page, gateway: FakeGateway, job: str, result: Result
) -> None:
    gateway.put_review(job, Review(), '"0"')
    viewer.get_by_role("button", name="Reject lesion 1", exact=True).click()
    viewer.get_by_role("button", name="Apply", exact=True).click()
    viewer.get_by_role("button", name="Discard my changes").click()
    expect(viewer.locator(".viewer[data-review='1']")).to_be_visible()
    expect(viewer.get_by_role("button", name="Reject lesion 1", exact=True)).to_be_visible()
    assert gateway.review(job).number == 1 and gateway.review(job).review.lesions == []

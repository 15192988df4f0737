"""A follow-up of three dates from the page alone: upload, comparison, table, linked slices, in a real browser."""

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from scipy import ndimage
from tests.e2e.reader import SHOTS, SOON_MS, choose, opened
from tests.followed import AFTER, BEFORE, A, B, C, finish_as
from tests.gateways import Gateway
from tests.pages import serving_page
from tests.visits import Scanner, Visit, scan

from metseg import formats
from metseg.client import Client
from metseg.contracts import JobStatus
from metseg_worker.context import open_context
from metseg_worker.tasks import run_job

LATEST = Scanner((-4, 3, -6), (-6, 5, 4), noise=4, bias=-0.2, spacing_mm=(3.0, 2.0, 2.0))
VISITS = {
    "2026-01-05": scan([(A, 14.0), (B, 10.0)], BEFORE),
    "2026-04-06": scan([(A, 18.0), (B, 6.0)], AFTER, seed=1),
    "2026-07-06": scan([(A, 24.0), (C, 12.0)], LATEST, seed=2),
}
EDGE_PX = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The post-contrast T1 of each visit."""
    folder = tmp_path_factory.mktemp("visits")
    return [_written(folder / f"{day}_t1ce.nii.gz", visit) for day, visit in VISITS.items()]


def _written(path: Path, visit: Visit) -> Path:
    pixels = visit.pixels.astype(np.uint8)
    path.write_bytes(formats.write_labels(pixels, pixels.shape, 255, visit.scanner.spacing_mm, visit.affine))
    return path


class Reader:
    """Someone at the page, whose clicks and typed fields are counted."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks, self.fields = page, 0, 0

    def click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1

    def type(self, label: str, text: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        expect(field).to_have_count(1)  # while Streamlit moves it, there are two
        field.fill(text)
        self.page.keyboard.press("Enter")
        self.fields += 1

    def type_date(self, label: str, day: str) -> None:
        """Type a date into its fields for year, month and day, each of which leads to the next."""
        field = self.page.get_by_label(label, exact=True)
        expect(field).to_have_count(1)
        field.get_by_role("spinbutton").first.click()
        self.page.keyboard.type(day.replace("-", ""))
        self.page.keyboard.press("Enter")
        self.fields += 1


def test_three_dates_become_a_follow_up_on_the_page(page: Page, gateway: Gateway, files: list[Path]) -> None:
    with serving_page(gateway.url) as url:
        began = time.monotonic()
        reader = Reader(opened(page, url))
        jobs = upload(reader, gateway, files)
        uploaded = time.monotonic()
        finish(gateway, jobs)
        segmented = time.monotonic()
        reader.click(page.get_by_role("button", name="Follow-up"))
        expect(page.get_by_label("Patient", exact=True).last).to_be_visible()
        reader.click(page.get_by_role("button", name="Compare"))
        expect(page).to_have_url(re.compile("follow-up="))
        compare(gateway, page)
        expect(page.get_by_text("Proposed for 2026-07-06")).to_be_visible()
        seconds = uploaded - began + time.monotonic() - segmented
        print(f"{reader.clicks} clicks, {reader.fields} fields, {seconds:.0f} s without the segmentation")
        assert reader.clicks <= 8 and reader.fields <= 4
        expect(page.get_by_test_id("stMetricValue").first).to_have_text("Progressive disease")
        ready(page)
        page.screenshot(path=SHOTS / "follow-up.png")
        check_jump(page, gateway, jobs)
        check_linked(page)
        page.screenshot(path=SHOTS / "follow-up-pair.png")
        page.get_by_test_id("stVegaLiteChart").scroll_into_view_if_needed()
        page.wait_for_timeout(1500)
        page.screenshot(path=SHOTS / "follow-up-chart.png")
        page.reload()
        expect(page.get_by_text("Proposed for 2026-07-06")).to_be_visible()
        ready(page)


def upload(reader: Reader, gateway: Gateway, files: list[Path]) -> list[str]:
    page = reader.page
    choose(page, *files)
    reader.clicks += 1  # a drop
    reader.click(page.get_by_text("separate scans"))
    reader.click(page.get_by_text("Patient and date"))
    reader.type("Patient", "p-7")
    for file, day in zip(files, VISITS, strict=True):
        reader.type_date(f"Date of {file.name}", day)
    page.screenshot(path=SHOTS / "follow-up-upload.png")
    reader.click(page.get_by_role("button", name="Find lesions"))
    expect(page.locator(".st-key-jobs").get_by_role("button")).to_have_count(len(files), timeout=SOON_MS)
    with Client(gateway.url) as client:
        jobs = sorted(client.jobs().jobs, key=lambda job: str(job.taken_on))
    assert [(job.patient, str(job.taken_on)) for job in jobs] == [("p-7", day) for day in VISITS]
    return [job.id for job in jobs]


def finish(gateway: Gateway, jobs: list[str]) -> None:
    for job, visit in zip(jobs, VISITS.values(), strict=True):
        finish_as(gateway, job, visit)


def compare(gateway: Gateway, page: Page) -> None:
    """Run the follow-up that the page shows, as a worker does."""
    follow_up_id = re.search("follow-up=([0-9a-f]+)", page.url).group(1)
    run_job(open_context(gateway.settings), follow_up_id)
    with Client(gateway.url) as client:
        found = client.follow_up(follow_up_id)
    assert found.status is JobStatus.SUCCEEDED
    states = [[one and one.state for one in track.measurements] for track in found.result.tracks]
    assert states == [[None, "grown", "grown"], [None, "shrunk", "gone"], [None, None, "new"]]


def ready(page: Page) -> None:
    expect(page.locator(".follow-up[data-ready=true]")).to_be_visible(timeout=2 * SOON_MS)


def titles(page: Page) -> list[str]:
    return page.locator(".follow-up .pane .title").all_inner_texts()


def pictures(page: Page) -> list[np.ndarray]:
    found = page.locator(".follow-up .pane").all()
    taken = [np.asarray(Image.open(io.BytesIO(one.screenshot())).convert("RGB")).astype(int) for one in found]
    return [one[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX] for one in taken]


def outlined(picture: np.ndarray) -> tuple[float, float] | None:
    """The middle of all that is in colour: an outline and its number; None without any."""
    marked = np.ptp(picture, axis=2) > 80
    return ndimage.center_of_mass(marked) if marked.sum() > 20 else None


def select(page: Page, row: int) -> None:
    """Click the first cell of a row of the table, which is drawn on a canvas."""
    page.get_by_test_id("stDataFrame").click(position={"x": 60, "y": 53 + 35 * row}, force=True)


def check_jump(page: Page, gateway: Gateway, jobs: list[str]) -> None:
    """Each row leads to the lesion in both scans, and to where one was that is gone."""
    with Client(gateway.url) as client:
        current = client.result(jobs[-1])
    largest = {1: current.lesions[0].largest_slice, 3: current.lesions[1].largest_slice}
    for row, number in enumerate((1, 2, 3)):
        select(page, row)
        if number in largest:
            expect(page.locator(".follow-up .pane .title").last).to_contain_text(f"slice {largest[number] + 1}")
        expect(page.locator(".follow-up .number.selected").first).to_have_text(str(number))
        shown = page.locator(".follow-up .pane").all()
        numbers = [one.locator(".number").all_inner_texts() for one in shown]
        in_prior, in_current = (str(number) in each for each in numbers)
        assert (in_prior, in_current) == {1: (True, True), 2: (True, False), 3: (False, True)}[number]
    select(page, 0)
    expect(page.locator(".follow-up .number.selected")).to_have_count(2)
    page.wait_for_timeout(1000)
    prior, current_picture = (outlined(one) for one in pictures(page))
    assert np.hypot(*np.subtract(prior, current_picture)) < 12, "registered: the lesion is in one place of both"


def check_linked(page: Page) -> None:
    """Scrolling one scan moves the other, also when the pointer is on the other one."""
    before = titles(page)
    for index in (0, 1):
        box = page.locator(".follow-up .pane").nth(index).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.wheel(0, -100)
        page.mouse.wheel(0, -100)
        expect(page.locator(".follow-up .pane .title").last).not_to_have_text(before[1])
        after = titles(page)
        moved = [_slice_of(now) - _slice_of(then) for now, then in zip(after, before, strict=True)]
        assert moved[1] == 2 and 1 <= moved[0] <= 3, moved
        before = after
    select(page, 0)


def _slice_of(title: str) -> int:
    return int(re.search(r"slice (\d+)", title).group(1))

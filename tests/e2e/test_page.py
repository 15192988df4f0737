"""The page in a real browser, with a real deployment behind it.

METSEG_UI_URL names a running page; without it, the deployment is started. What a healthy deployment cannot show is
tested in `test_page_held`, with a fake gateway.
"""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from tests.e2e.deployment import Deployment
from tests.e2e.reader import (
    SEGMENTED_MS,
    figure,
    finished,
    look,
    opened,
    picture,
    saved,
    send,
)

from metseg import phantom
from metseg.contracts import DISCLAIMER
from metseg.phantom.dicom import SERIES_PARAMETERS, series_files
from metseg.settings import MIB

SIZE = (256, 256)
FINDINGS = re.compile("Lesions|FLAIR abnormalities")
"""Which it is depends on the model that serves: another test promotes one of the whole alone."""


def test_an_example_scan_shows_its_findings_after_one_click(page: Page, url: str) -> None:
    opened(page, url).get_by_role("button", name="One large lesion").click()
    finished(page)
    assert int(figure(page, FINDINGS)) >= 1
    expect(page.get_by_role("img", name=re.compile("Marked: (lesion|FLAIR abnormalit)"))).to_be_visible()


def test_an_uploaded_scan_survives_a_reload(page: Page, url: str, scan: Path) -> None:
    send(opened(page, url), scan)
    finished(page)
    expect(page).to_have_url(re.compile(r"job=[0-9a-f-]+"))
    found = figure(page, FINDINGS)
    page.reload()
    finished(page)
    assert figure(page, FINDINGS) == found


def test_masks_are_downloaded_one_per_slice_and_of_the_same_size(page: Page, url: str) -> None:
    opened(page, url).get_by_role("button", name="One large lesion").click()
    finished(page)
    [total] = {int(n) for n in re.findall(r"of (\d+)", picture(page).get_attribute("aria-label") or "")}
    with zipfile.ZipFile(io.BytesIO(saved(page, "Masks, ZIP"))) as archive:
        masks = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
        assert len(masks) == total and all(name.endswith("_mask.png") for name in archive.namelist())
    assert {mask.size for mask in masks} == {SIZE}
    look(page)  # until the page has its final layout
    shown = page.locator(".viewer .stage").bounding_box()
    saved_size = Image.open(io.BytesIO(saved(page, "This slice, PNG"))).size
    assert saved_size == (round(shown["width"]), round(shown["height"]))
    assert b'"lesions"' in saved(page, "Result, JSON")
    assert saved(page, "Mask, NIfTI")[:2] == b"\x1f\x8b"


def test_a_series_of_more_than_100_files_and_64_mb_is_segmented(page: Page, url: str, tmp_path: Path) -> None:
    """In the deployment, /tmp of the page's container holds 64 MiB."""
    head = phantom.head(47, slices=26, lesions=2).volume
    pixels = head.pixels[..., 1].astype(np.uint16).repeat(5, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    spacing = np.diag([0.5, 0.5, 0.2, 1.0])
    files = {
        tmp_path / name: content
        for name, content in series_files(pixels, head.affine @ spacing, SERIES_PARAMETERS["flair"]).items()
    }
    assert len(files) > 100 and sum(map(len, files.values())) > 64 * MIB
    for path, content in files.items():
        path.write_bytes(content)
    send(opened(page, url), *files)
    finished(page)
    expect(picture(page)).to_have_attribute("aria-label", re.compile(f"of {len(pixels)}"))


def test_a_file_that_is_not_an_image_is_refused_with_its_reason(page: Page, url: str, tmp_path: Path) -> None:
    text = tmp_path / "scan.png"
    text.write_text("This is no image.")
    send(opened(page, url), text)
    expect(page.get_by_role("alert").filter(has_text=re.compile("format is not supported", re.I))).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_several_scans_are_listed_and_one_can_be_deleted(page: Page, url: str, scan: Path, tmp_path: Path) -> None:
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
    page.get_by_role("button", name="Delete", exact=False).first.click()
    page.get_by_role("button", name="Delete permanently").click()
    expect(jobs).to_have_count(1)
    expect(main.get_by_text("other.zip")).to_be_visible()
    finished(page)
    assert len(re.findall(r"job=", page.url)) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1024, 1280])
def test_the_page_contacts_no_other_host_and_always_shows_the_disclaimer(
    browser: Browser, url: str, width: int, theme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    page = opened(context.new_page(), url)
    page.get_by_role("button", name="Many small lesions").click()
    finished(page)
    page.mouse.wheel(0, 5000)
    expect(page.get_by_role("note").filter(has_text=DISCLAIMER)).to_be_in_viewport()
    page.get_by_role("button", name="About the model").click()
    expect(page.get_by_role("dialog").get_by_text("Training data")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert [one for one in requested if not one.startswith((url, "data:", "blob:"))] == []


def test_the_page_recovers_after_losing_its_connection_to_the_gateway(page: Page, deployment: Deployment) -> None:
    opened(page, deployment.ui_url).get_by_role("button", name="One large lesion").click()
    finished(page)
    with deployment.cut("api", "front"):
        page.reload()
        expect(page.get_by_text("temporarily unavailable")).to_be_visible(timeout=SEGMENTED_MS)
    finished(page)

"""Brush and eraser on a DICOM study, from the browser through the real gateway to NIfTI, SEG and RTSTRUCT."""

import io

import numpy as np
import pydicom
import pytest
from playwright.sync_api import Page, expect
from scipy import ndimage
from tests.dicoms import points, points_of_segmentation, zipped
from tests.e2e.reader import SHOTS, finished, look, opened, shown_slice
from tests.gateways import Gateway
from tests.pages import serving_page

from metseg import phantom
from metseg.client import Client
from metseg.contracts import JobStatus
from metseg.formats import read_mask
from metseg.imaging import Mask
from metseg.phantom.dicom import SERIES_PARAMETERS, series_files
from metseg_worker.context import open_context
from metseg_worker.tasks import run_job

RADIUS_MM = 3.0


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return phantom.head(5, slices=8, size_px=64)


@pytest.fixture
def job(gateway: Gateway, head: phantom.Phantom) -> str:
    """A study that the worker's code has processed."""
    files: dict[str, bytes] = {}
    for channel, series in enumerate(SERIES_PARAMETERS.values()):
        pixels = head.volume.pixels[..., channel].astype("uint16")
        files |= series_files(pixels, head.volume.affine, series)
    with Client(gateway.url) as client:
        job = client.submit([("study.zip", zipped(files))])
        run_job(open_context(gateway.settings), job.id)
        assert client.job(job.id).status == JobStatus.SUCCEEDED
    return job.id


def test_strokes_end_up_in_nifti_segmentation_and_contours(
    page: Page, gateway: Gateway, head: phantom.Phantom, job: str
) -> None:
    with Client(gateway.url) as client, serving_page(gateway.url) as url:
        before = read_mask(client.mask(job))
        finished(opened(page, f"{url}/?job={job}"))
        look(page)
        index = shown_slice(page) - 1
        empty, marked = place(~before[index]), place(before[index])
        for key, structure, (row, column) in (("b", "Tumour", empty), ("e", "Whole", marked)):
            page.keyboard.press(key)
            page.get_by_role("group", name="Structure").get_by_role("button", name=structure).click()
            touch(page, row, column, before.shape)
        look(page)
        page.screenshot(path=SHOTS / "dicom-strokes.png")
        page.get_by_role("button", name="Apply", exact=True).click()
        expect(page.locator(".viewer[data-review='1']")).to_be_visible()
        after, core = read_mask(client.mask(job)), read_mask(client.mask(job, structure="core"))
        segmented = points_of_segmentation(client.mask(job, "dicom-seg"))
        contours = pydicom.dcmread(io.BytesIO(client.mask(job, "rtstruct")))
    assert after[index, *empty] and core[index, *empty], "what the brush painted"
    assert not after[index, *marked] and not core[index, *marked], "what the eraser removed"
    changed = np.argwhere(before != after)
    away = [np.hypot(*(changed[:, 1:] - middle).T) for middle in (empty, marked)]
    assert set(changed[:, 0]) == {index} and np.minimum(*away).max() <= RADIUS_MM / head.volume.spacing_mm[1] + 1
    assert segmented == points(after.T, head.volume.affine)
    right, front, top = head.volume.affine[:3] @ (empty[1], empty[0], index, 1)
    assert any(encloses(each, (-right, -front, top)) for each in contours.ROIContourSequence), "its contour"


def place(free: Mask) -> tuple[int, int]:
    """The (row, column) in the head that is farthest from all that is not free."""
    rows, columns = np.indices(free.shape)
    head = np.hypot(rows - free.shape[0] / 2, columns - free.shape[1] / 2) < free.shape[0] / 3
    row, column = np.unravel_index(ndimage.distance_transform_edt(free & head).argmax(), free.shape)
    return int(row), int(column)


def touch(page: Page, row: int, column: int, shape: tuple[int, ...]) -> None:
    """Draw one point at a voxel of the slice that is shown."""
    box, (_, rows, columns) = page.locator(".viewer .stage").bounding_box(), shape
    scale = min(box["width"] / columns, box["height"] / rows)
    page.mouse.move(
        box["x"] + box["width"] / 2 + (column + 0.5 - columns / 2) * scale,
        box["y"] + box["height"] / 2 + (row + 0.5 - rows / 2) * scale,
    )
    page.mouse.down()
    page.mouse.up()


def encloses(roi: pydicom.Dataset, place: tuple[float, float, float]) -> bool:
    """Whether a contour of an ROI surrounds a place (LPS, mm) closely."""
    for contour in roi.ContourSequence:
        outline = np.array(contour.ContourData, float).reshape(-1, 3) - place
        near = np.abs(outline[:, 2]).max() < 0.1 and np.hypot(*outline[:, :2].T).max() < 15
        if near and (outline[:, :2].min(axis=0) <= 0).all() and (outline[:, :2].max(axis=0) >= 0).all():
            return True
    return False

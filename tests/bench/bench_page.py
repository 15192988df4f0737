"""The page with large and with many uploads, in a real browser with a fake gateway.

    python -m tests.bench.bench_page --uploads 50 --megabytes 200

It measures how long a reader waits for a study of many slices, from files to layers; how long the page takes to respond
to a click during a large upload; and the memory of the page's process after each tenth of the uploads. It needs
Playwright and Chromium (METSEG_BROWSER).
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Page, Playwright, expect, sync_playwright
from tests.bench.studies import volume_files
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.hospital import hospital
from tests.pages import serving_page
from tests.servers import redis_server

from metseg.contracts import ModelCard
from metseg.imaging import encode_png
from metseg.phantom import head
from metseg.registry import Registry
from metseg_worker.setup import seed

WEBGL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TIMEOUT_MS = 120_000
STARTER = Path(__file__).parents[2] / "infra" / "starter-model"


def study(path: Path, megabytes: float) -> None:
    """Write a ZIP of slices of noise, of about this size."""
    side = 256 if megabytes < 20 else 1024
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(max(1, round(megabytes * 2**20 / (side * side * 3)))):
            archive.writestr(f"slice_{number + 1:03d}.png", encode_png(np.roll(pixels, number, axis=0)))


def page_process() -> psutil.Process:
    [found] = [one for one in psutil.Process().children(recursive=True) if "streamlit" in " ".join(one.cmdline())]
    return found


def upload(page: Page, *paths: Path) -> None:
    """Choose files and submit them, once the uploader has been reset after the last submission."""
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_disabled(timeout=TIMEOUT_MS)
    page.get_by_label("Files", exact=True).set_input_files([str(path) for path in paths])
    expect(button).to_be_enabled(timeout=TIMEOUT_MS)
    button.click()


def response_times(page: Page, path: Path) -> list[float]:
    """Seconds until the page responds to a click, measured repeatedly while a file is uploaded and submitted."""
    times: list[float] = []
    page.get_by_label("Files", exact=True).set_input_files(str(path))
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_enabled(timeout=TIMEOUT_MS)
    began = time.monotonic()
    button.click()
    sending = page.get_by_role("progressbar", name="Upload")
    expect(sending).to_be_visible(timeout=TIMEOUT_MS)
    while sending.is_visible() and time.monotonic() - began < 120:
        times.append(response_time(page))
    print(f"uploaded after {time.monotonic() - began:.1f} s")
    return times


def response_time(page: Page) -> float:
    """Seconds from a click on a toggle until the slider that it shows, or hides, has changed."""
    slider = page.get_by_role("slider", name="Threshold for this upload")
    wanted = 1 - slider.count()
    began = time.monotonic()
    page.get_by_text("Set the threshold manually").click()
    expect(slider).to_have_count(wanted, timeout=TIMEOUT_MS)
    return time.monotonic() - began


def volumes(folder: Path, slices: int) -> list[Path]:
    """A phantom as three NIfTI volumes of 240 x 240 pixels per slice, with isotropic voxels of 1 mm."""
    volume = head(47, slices=slices, size_px=240, spacing_mm=(1.0, 1.0, 1.0)).volume
    files = {folder / name: content for name, content in volume_files(volume.pixels, volume.affine)}
    for path, content in files.items():
        path.write_bytes(content)
    return list(files)


def whole_study(playwright: Playwright, folder: Path, slices: int) -> None:
    """How long a reader waits for a study after the click, with the real gateway, worker and starter model."""
    with (
        redis_server(folder) as redis,
        hospital(folder / "server", redis.url) as server,
        serving_page(server.url) as url,
    ):
        models = Registry(server.gateway.store)
        seed(models, STARTER)
        models.promote(ModelCard.model_validate_json((STARTER / "card.json").read_bytes()).version)
        paths = volumes(folder, slices)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=WEBGL)
        page = browser.new_page()
        fetched: set[str] = set()
        page.on("requestfinished", lambda request: fetched.add(request.url.split("/")[-1]))
        page.goto(url)
        page.get_by_role("button", name="About the model").wait_for(timeout=TIMEOUT_MS)
        began = time.monotonic()
        upload(page, *paths)

        def report(what: str) -> None:
            print(f"{slices} slices, {what}: {time.monotonic() - began:.1f} s after the files were chosen", flush=True)

        page.locator(".viewer").wait_for(timeout=TIMEOUT_MS)
        expect(page.locator(".viewer img.fallback")).to_have_js_property("complete", True, timeout=TIMEOUT_MS)
        report("first picture of the result")
        page.locator(".viewer[data-ready=true]").wait_for(timeout=TIMEOUT_MS)
        report("the volume with its mask")
        for key in ("1", "3", "m"):
            page.locator(".viewer .stage").press(key)
        while not {"pre", "flair", "post", "mask", "probability"} <= fetched:
            page.wait_for_timeout(50)
        report("all layers")
        browser.close()


def browser_path() -> str | None:
    return os.environ.get("METSEG_BROWSER") or shutil.which("chromium")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--uploads", type=int, default=50)
    options.add_argument("--megabytes", type=float, default=200)
    options.add_argument("--slices", type=int, default=155, help="of the study whose layers are waited for; 0: none")
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        if wanted.slices:
            whole_study(playwright, Path(folder), wanted.slices)
        if wanted.uploads:
            many_uploads(playwright, wanted.uploads, wanted.megabytes)


def many_uploads(playwright: Playwright, uploads: int, megabytes: float) -> None:
    """One large upload and many small ones, with the memory of the page's process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(FakeGateway(study=FakeStudy(slices=12))) as gateway,
        serving_page(gateway.url) as url,
    ):
        large, small = Path(folder) / "large.zip", Path(folder) / "small.zip"
        study(large, megabytes)
        study(small, 4)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=WEBGL)
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("button", name="About the model").wait_for(timeout=TIMEOUT_MS)
        idle = [response_time(page) for _ in range(3)]
        process = page_process()
        print(f"idle: a click takes {statistics.median(idle):.2f} s, {process.memory_info().rss >> 20} MB")
        times = response_times(page, large)
        size = large.stat().st_size >> 20
        print(f"during an upload of {size} MB: median {statistics.median(times):.2f} s, longest {max(times):.2f} s")
        while not gateway.submissions:
            page.wait_for_timeout(50)
        page.locator(".viewer[data-ready]").wait_for(timeout=TIMEOUT_MS)
        print(f"after it: {process.memory_info().rss >> 20} MB")
        for number in range(1, uploads + 1):
            before = len(gateway.submissions)
            upload(page, small)
            while len(gateway.submissions) == before:
                page.wait_for_timeout(50)
            page.locator(".viewer[data-ready]").wait_for(timeout=TIMEOUT_MS)
            if number % max(1, uploads // 10) == 0:
                print(f"after {number} more: {process.memory_info().rss >> 20} MB", flush=True)
        browser.close()


if __name__ == "__main__":
    main()

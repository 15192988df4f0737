"""Take the screenshot docs/pictures/page.png: the page with a phantom, hence without patient data."""

import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.pages import serving_page

TARGET = Path(__file__).parents[1] / "docs" / "pictures" / "page.png"
WEBGL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main() -> None:
    browser_path = os.environ.get("METSEG_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    with (
        serving(FakeGateway(study=FakeStudy(slices=16))) as gateway,
        serving_page(gateway.url) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=browser_path, args=WEBGL)
        page = browser.new_page(viewport={"width": 1280, "height": 830})
        page.goto(url)
        page.get_by_role("button", name="Many small lesions").click(timeout=60_000)
        page.locator(".viewer[data-ready=true]").wait_for(timeout=60_000)
        page.get_by_role("button", name="Post", exact=True).click()
        page.wait_for_timeout(2_000)
        page.screenshot(path=TARGET)
        browser.close()
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

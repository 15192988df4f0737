"""Fixtures of the end-to-end tests: a deployment, which is always removed; a browser; pages and a scan."""

import io
import os
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.e2e.deployment import Deployment
from tests.e2e.reader import SHOTS, SOON_MS
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.gateways import Gateway, running_alone
from tests.pages import serving_page
from tests.servers import redis_server

from metseg import phantom
from metseg.client import Client

CALM = (
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Built from this tree and healthy; its logs are printed if a test failed."""

    def leave(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)  # once is enough: the removal must finish
        pytest.exit(f"ended by {signal.Signals(number).name}", returncode=128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    deployment = Deployment(tmp_path_factory.mktemp("no-data"))
    up = False
    try:
        deployment.build()
        deployment.up()
        up = True
        yield deployment
    finally:
        if request.session.testsfailed or not up:
            print(deployment.logs())
        deployment.down()
        signal.signal(signal.SIGTERM, previous)


@pytest.fixture(scope="session")
def client(deployment: Deployment) -> Iterator[Client]:
    with Client(deployment.api_url) as client:
        yield client


@pytest.fixture(scope="session")
def browser_path() -> str:
    """An installed Chromium or Chrome; `make e2e` installs one if allowed."""
    for name in (os.environ.get("METSEG_BROWSER"), "chromium", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    pytest.fail("no browser: install chromium, or set METSEG_BROWSER to one")


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    return os.environ.get("METSEG_UI_URL") or request.getfixturevalue("deployment").ui_url


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    expect.set_options(timeout=SOON_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(CALM))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A visitor's browser; a final screenshot is kept in build/page."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(SOON_MS)
    context.set_default_navigation_timeout(2 * SOON_MS)  # a page of many scripts on a busy machine
    page = context.new_page()
    yield page
    page.screenshot(path=SHOTS / f"{request.node.name}.png")
    context.close()


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[FakeGateway, str]]:
    """A fake gateway that the test controls, and a page on it."""
    with serving(FakeGateway(study=FakeStudy(slices=6))) as gateway, serving_page(gateway.url) as url:
        yield gateway, url


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with its own store and Redis, without workers."""
    folder = tmp_path_factory.mktemp("deployment")
    with redis_server(folder) as redis, running_alone(folder / "store", redis.url) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ZIP of eight slices of a phantom with lesions."""
    path = tmp_path_factory.mktemp("scan") / "head.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, pixels in enumerate(phantom.head(47, slices=8, lesions=2).volume.pixels, start=1):
            stored = io.BytesIO()
            Image.fromarray(pixels).save(stored, "PNG")
            archive.writestr(f"slice_{number}.png", stored.getvalue())
    return path

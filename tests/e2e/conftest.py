"""The deployment that the end-to-end tests share; whatever happens, it is taken down."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.deployment import Deployment

from metseg.client import Client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Built from this tree and healthy; its logs are printed where a test failed."""

    def leave(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)  # once is enough: the taking down has to end
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
    """A Chromium or Chrome of this machine; `make e2e` installs one where it may."""
    for name in (os.environ.get("METSEG_BROWSER"), "chromium", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    pytest.fail("no browser: install chromium, or set METSEG_BROWSER to one")

"""The page over a gateway on a real socket, without a browser."""

from collections.abc import Callable, Iterator

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tests.fake_gateway import FakeGateway, serving
from tests.fake_study import FakeStudy
from tests.integration.page import browser
from tests.integration.page.visitor import run
from tests.pages import APP

from metseg.settings import settings
from metseg_ui.components import uploader

Page = Callable[..., AppTest]


@pytest.fixture(scope="session")
def study() -> FakeStudy:
    return FakeStudy(slices=8)


@pytest.fixture
def gateway(study: FakeStudy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    with serving(FakeGateway(study=study)) as gateway:
        monkeypatch.setenv("METSEG_GATEWAY_URL", gateway.url)
        settings.cache_clear()
        st.cache_data.clear()
        yield gateway
    settings.cache_clear()


@pytest.fixture
def page(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Opens the page at a URL, as a new visitor."""

    for name in ("chosen", "render", "answers"):
        monkeypatch.setattr(uploader, name, getattr(browser, name))

    def opened(*jobs: str, show: str | None = None, view: str | None = None) -> AppTest:
        at = AppTest.from_file(APP, default_timeout=100)
        at.query_params["job"] = list(jobs)
        if view:
            at.query_params["view"] = view
        if show:
            at.query_params["show"] = show
        return run(at)

    return opened

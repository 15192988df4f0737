"""What the page refuses before Streamlit sees it."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.fake_gateway import listening

from metseg.settings import settings
from metseg_ui import proxy_routes
from metseg_ui.guard import PageGuard
from metseg_ui.state import sessions

UPLOAD = "/_stcore/upload_file/session/file"


@pytest.fixture(autouse=True)
def site(monkeypatch):
    monkeypatch.setenv("METSEG_HOSTS", "scans.example.org, https://other.example:8443/")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def changes():
    """What reached the application behind the guard."""
    return []


@pytest.fixture
def browser(changes):
    async def change(request):
        changes.append(await request.body())
        return PlainTextResponse("done")

    async def page(request):
        return PlainTextResponse("page")

    routes = [
        Route(UPLOAD, change, methods=["PUT", "DELETE"]),
        Route("/change", change, methods=["POST"]),
        Route("/", page),
        *proxy_routes.ROUTES,
    ]
    guarded = Starlette(routes=routes, middleware=[Middleware(PageGuard)])
    with listening(guarded) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "GET"])
def test_streamlit_takes_no_uploads(browser, changes, method):
    assert browser.request(method, UPLOAD, content=b"x" * 1000).status_code == 404
    assert changes == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(host, 200) for host in ("127.0.0.1:8501", "localhost", "[::1]:8501", "ui:8501", "10.0.0.7", "a.localhost")],
        *[(host, 200) for host in ("scans.example.org", "SCANS.example.org:443", "other.example:8443")],
        *[
            (host, 403)
            for host in ("evil.example", "evil.example:8501", "127.0.0.1.evil.example", "a.scans.example.org")
        ],
    ],
)
def test_only_names_of_the_site_are_served(browser, host, status):
    assert browser.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:8501"}, True),
        ({"Origin": "https://scans.example.org"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:9999"}, False),
        ({"Origin": "null"}, False),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, False),
    ],
)
def test_the_socket_opens_for_the_page_alone(headers, opens):
    sent = []

    async def stream(scope, receive, send):
        await send({"type": "websocket.accept"})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    named = {"Host": "127.0.0.1:8501"} | headers
    scope = {"type": "websocket", "headers": [(key.lower().encode(), value.encode()) for key, value in named.items()]}
    asyncio.run(PageGuard(stream)(scope, receive, send))
    assert sent == ["websocket.accept" if opens else "websocket.close"]


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_sites_page_changes_nothing(browser, changes, headers):
    assert browser.post("/change", content=b"x", headers=headers).status_code == 403
    assert browser.post("/submissions/guessed", content=b"x", headers=headers).status_code == 403
    assert changes == []
    assert browser.post("/change", content=b"x", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_every_response_may_be_framed_by_the_page_alone(browser):
    for answer in (browser.get("/"), browser.get("/missing"), browser.get("/reports/guessed/v1"), browser.put(UPLOAD)):
        assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "path",
    ["/volumes/{}/..%2f..%2fmodels/mask", "/volumes/{}/4711/mask", "/overlays/{}/4711/0", "/reports/{}/..%2fme"],
)
def test_the_gateway_is_asked_for_nothing_under_an_id_that_is_none(browser, monkeypatch, path):
    kept = sessions.Session("http://gateway", "", signed_in=False)

    def refuse(*_, **__):
        raise httpx.ConnectError("asked")

    for name in ("volume_chunks", "overlay", "model_report"):
        monkeypatch.setattr(kept.client, name, refuse)
    assert browser.get(path.format(kept.token)).status_code == 404

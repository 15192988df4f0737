"""What the page refuses before Streamlit sees it."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.fake_gateway import listening

from metseg.settings import MIB, settings
from metseg_ui import proxy_routes
from metseg_ui.guard import PROCESS_SHARE, PageGuard
from metseg_ui.state import sessions

LIMIT = 2 * MIB
UPLOAD = "/_stcore/upload_file/{}/file"


@pytest.fixture
def uploads(monkeypatch):
    """Streamlit's storage of uploads, by session."""
    monkeypatch.setenv("METSEG_LIMIT_UPLOAD_BYTES", str(LIMIT))
    monkeypatch.setenv("METSEG_HOSTS", "scans.example.org, https://other.example:8443/")
    settings.cache_clear()
    storage = {}
    manager = SimpleNamespace(file_storage=storage, remove_session_files=lambda session: storage.pop(session, None))
    monkeypatch.setattr(
        sessions,
        "get_script_run_ctx",
        lambda **_: SimpleNamespace(session_id=current[0], uploaded_file_mgr=manager),
    )
    current[0] = "one"
    yield storage
    settings.cache_clear()


current = ["one"]


def session(name="one", *, accepted=True):
    current[0] = name
    made = sessions.Session("http://gateway", "", signed_in=False)
    made.accepted = accepted
    return made


@pytest.fixture
def browser(uploads):
    async def keep(request):
        body = await request.body()
        uploads.setdefault(request.path_params["session"], {})["file"] = SimpleNamespace(data=body)
        return PlainTextResponse("kept")

    async def page(request):
        return PlainTextResponse("page")

    routes = [
        Route("/_stcore/upload_file/{session}/{file}", keep, methods=["PUT", "DELETE"]),
        Route("/", page),
        *proxy_routes.ROUTES,
    ]
    guarded = Starlette(routes=routes, middleware=[Middleware(PageGuard)])
    with listening(guarded) as url, httpx.Client(base_url=url) as client:
        yield client


def put(browser, name="one", size=1000, **headers):
    return browser.put(UPLOAD.format(name), content=b"x" * size, headers=headers)


def test_nothing_is_taken_before_sign_in(browser, uploads):
    assert put(browser).status_code == 403
    kept = session(accepted=False)
    assert put(browser).status_code == 403
    kept.accepted = True
    assert put(browser).status_code == 200
    assert put(browser, "guessed").status_code == 403
    assert list(uploads) == ["one"]


def test_signing_out_discards_what_was_chosen(browser, uploads, monkeypatch):
    kept = session()
    put(browser)
    monkeypatch.setattr(sessions.st, "session_state", {"session": kept})
    sessions.sign_out()
    assert uploads == {} and put(browser).status_code == 403


def test_a_session_may_hold_one_submission(browser, uploads):
    kept = session()
    assert put(browser, size=LIMIT).status_code == 200
    answer = put(browser, size=LIMIT // 2)
    assert answer.status_code == 413 and "2 MiB together" in answer.text
    kept.discard_uploads()
    assert put(browser, size=LIMIT // 2).status_code == 200


def test_the_process_holds_a_fixed_number_of_submissions(browser, uploads):
    kept = [session(str(each)) for each in range(PROCESS_SHARE + 1)]
    answers = [put(browser, str(each), size=LIMIT).status_code for each in range(len(kept))]
    assert answers == [200] * PROCESS_SHARE + [413]


def test_uploads_under_way_count(browser, uploads):
    kept = session()
    guard = PageGuard(Starlette())
    guard._uploading["one"] = LIMIT
    assert guard._quota_refusal("one", LIMIT // 2, settings())
    assert not guard._quota_refusal("two", LIMIT // 2, settings())
    assert kept.accepted


def test_an_upload_without_a_length_is_refused(browser):
    kept = session()
    assert browser.put(UPLOAD.format("one"), content=iter([b"x"])).status_code == 411
    assert kept.accepted


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
def test_the_socket_opens_for_the_page_alone(uploads, headers, opens):
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
def test_another_sites_page_uploads_and_removes_nothing(browser, uploads, headers):
    kept = session()
    assert put(browser, **headers).status_code == 403
    assert browser.delete(UPLOAD.format("one"), headers=headers).status_code == 403
    assert put(browser, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert kept.accepted


def test_every_response_may_be_framed_by_the_page_alone(browser):
    for answer in (browser.get("/"), browser.get("/missing"), browser.get("/reports/guessed/v1"), put(browser)):
        assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "path",
    ["/volumes/{}/..%2f..%2fmodels/mask", "/volumes/{}/4711/mask", "/overlays/{}/4711/0", "/reports/{}/..%2fme"],
)
def test_the_gateway_is_asked_for_nothing_under_an_id_that_is_none(browser, monkeypatch, path):
    kept = session()

    def refuse(*_, **__):
        raise httpx.ConnectError("asked")

    for name in ("volume_chunks", "overlay", "model_report"):
        monkeypatch.setattr(kept.client, name, refuse)
    assert browser.get(path.format(kept.token)).status_code == 404

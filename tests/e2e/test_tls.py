"""TLS in front of page and gateway: a real Caddy with its own certificate authority."""

import base64
import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import httpx
import pytest
from tests.e2e.deployment import Deployment
from tests.servers import free_ports, wait_until

from metseg_api import auth

PASSWORD = "page-password-of-a-test"
HASH = "$2a$14$67BdLg7ZfUKdVOw.gHopWuhbPhD9QDuZEzoi85L7UwclQIL6f6KQG"  # of that password
TIMEOUT_S = 20


class Secured:
    """A deployment behind Caddy, and what a client needs to reach it."""

    def __init__(self, folder: Path) -> None:
        self.port, self.plain_port = free_ports(2)
        printed = StringIO()
        with redirect_stdout(printed):
            auth.main(["page", "submit", "read"])
        key, entry = (line.split(": ", 1)[1].strip() for line in printed.getvalue().splitlines())
        (folder / "keys.json").write_text(f"[{entry}]")
        (folder / "keys.json").chmod(0o644)
        self.key = key
        variables = {
            "METSEG_TLS_PORT": str(self.port),
            "METSEG_TLS_HTTP_PORT": str(self.plain_port),
            "METSEG_API_KEYS_FILE": str(folder / "keys.json"),
            "METSEG_API_KEY": key,
            "METSEG_PAGE_USER": "ward",
            "METSEG_PAGE_HASH": HASH,
        }
        self.deployment = Deployment(folder / "no-data", "docker-compose.tls.yml", variables=variables)
        self.url = f"https://localhost:{self.port}"

    def trust(self) -> ssl.SSLContext:
        """A TLS context that trusts only this deployment's authority."""
        root = "/data/caddy/pki/authorities/local/root.crt"
        return ssl.create_default_context(cadata=self.deployment.compose("exec", "-T", "caddy", "cat", root))

    def shakes_hands(self) -> bool:
        """Whether Caddy has made its certificate, which it does after its start."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("localhost", self.port), timeout=TIMEOUT_S) as plain,
            unverified().wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
        return False


def unverified() -> ssl.SSLContext:
    """Trust in whoever answers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    secured = Secured(tmp_path_factory.mktemp("tls"))
    up = False
    try:
        secured.deployment.compose("build", "api", "ui", "setup", "store-owner", "caddy-owner", timeout_s=1200)
        secured.deployment.compose("up", "--detach", "--wait", "--wait-timeout", "120", "caddy", timeout_s=180)
        wait_until(secured.shakes_hands, 20)
        up = True
        yield secured
    finally:
        if not up:
            print(secured.deployment.logs())
        secured.deployment.down()


@pytest.fixture(scope="module")
def https(secured: Secured) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=secured.url, verify=secured.trust(), timeout=TIMEOUT_S) as client:
        yield client


def test_the_gateway_answers_over_tls_to_clients_that_trust_its_authority(
    secured: Secured, https: httpx.Client
) -> None:
    answer = https.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert not {"server", "via"} & set(answer.headers)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{secured.url}/readyz", timeout=TIMEOUT_S)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_versions_of_tls_are_refused(secured: Secured) -> None:
    context = unverified()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert httpx.get(f"{secured.url}/healthz", verify=context, timeout=TIMEOUT_S).status_code == 200
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{secured.url}/healthz", verify=context, timeout=TIMEOUT_S)


def test_a_plain_request_is_redirected_to_tls(secured: Secured) -> None:
    answer = httpx.get(
        f"http://localhost:{secured.plain_port}/v1/models", headers={"Host": "localhost"}, timeout=TIMEOUT_S
    )
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://localhost/v1/models")


def test_the_gateway_requires_a_key_and_hides_its_metrics(secured: Secured, https: httpx.Client) -> None:
    assert https.get("/v1/jobs").status_code == 401
    assert https.get("/v1/jobs", headers={"Authorization": f"Bearer {secured.key}"}).json() == {"jobs": []}
    assert https.get("/metrics").status_code == 404


def test_the_page_requires_its_password(https: httpx.Client) -> None:
    assert https.get("/").status_code == 401
    assert https.get("/", auth=("ward", "guess")).status_code == 401
    page = https.get("/", auth=("ward", PASSWORD))
    assert page.status_code == 200
    assert "<title>" in page.text
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert https.get("/_stcore/health", auth=("ward", PASSWORD)).text == "ok"


def test_the_page_updates_itself_over_tls(secured: Secured, https: httpx.Client) -> None:
    sign_in = base64.b64encode(f"ward:{PASSWORD}".encode()).decode()
    asked = {
        "Host": f"localhost:{secured.port}",
        "Origin": secured.url,
        "Authorization": f"Basic {sign_in}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    plain = socket.create_connection(("localhost", secured.port), timeout=TIMEOUT_S)
    with secured.trust().wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(f"GET /_stcore/stream HTTP/1.1\r\n{head}\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")


def test_only_caddy_is_published(secured: Secured) -> None:
    listed = [json.loads(line) for line in secured.deployment.compose("ps", "--format", "json").splitlines()]
    published = {each["Service"] for each in listed if any(port["PublishedPort"] for port in each["Publishers"] or [])}
    assert published == {"caddy"}

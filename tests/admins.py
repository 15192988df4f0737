"""The part of MinIO's admin API that a set-up uses, as a small server: it decrypts and keeps what it receives."""

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from minio.crypto import decrypt
from urllib3 import HTTPResponse

ROOT = ("root", "root-secret")


class Admin:
    """Users with their secrets, policies, and which user has which."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.policies: dict[str, Any] = {}
        self.attached: dict[str, str] = {}
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def minio_admin() -> Iterator[Admin]:
    """The API on a loopback port."""
    admin = Admin()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            assert urlsplit(self.path).path == "/minio/admin/v3/list-canned-policies"
            self.answer(json.dumps(admin.policies).encode())

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            assert self.headers["Authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ROOT[0]}/")
            place = urlsplit(self.path)
            query = {name: value for name, [value] in parse_qs(place.query).items()}
            match place.path.removeprefix("/minio/admin/v3/"):
                case "add-user":
                    sealed = HTTPResponse(io.BytesIO(body), preload_content=False)
                    admin.users[query["accessKey"]] = json.loads(decrypt(sealed, ROOT[1]))["secretKey"]
                case "add-canned-policy":
                    admin.policies[query["name"]] = json.loads(body)
                case "set-user-or-group-policy":
                    assert query["policyName"] in admin.policies
                    assert query["isGroup"] == "false"
                    admin.attached[query["userOrGroup"]] = query["policyName"]
                case other:
                    raise AssertionError(other)
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    admin.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield admin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""The gateway's load: single slices, whole patients, bad input, and clients that hang up. Run by `tests.load`.

The ids of accepted jobs are written, one per line, to the file LOAD_KEPT; the studies are in the folder LOAD_STUDIES.
"""

import contextlib
import os
import socket
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from locust import FastHttpUser, constant_throughput, tag, task

STUDIES = Path(os.environ["LOAD_STUDIES"])
KEPT = Path(os.environ["LOAD_KEPT"])
RATE = float(os.environ["LOAD_RATE_PER_USER"])
ACCEPTED, CALM, BUSY = 202, 429, 503


class Visitor(FastHttpUser):
    """Submits at a steady rate, whatever the outcome."""

    wait_time = constant_throughput(RATE)

    @tag("short")
    @task(7)
    def short(self) -> None:
        """A single slice."""
        self._submit("slice.png", "short slices")

    @tag("whole")
    @task(1)
    def whole(self) -> None:
        """A whole patient as ZIP."""
        self._submit("patient.zip", "whole patients")

    @tag("mix")
    @task(1)
    def bad(self) -> None:
        """A file that is not an image must be refused as such, or by backpressure."""
        with self._post(b"this is no image", "bad.png", "bad input") as answer:
            if answer.status_code in (415, 422, BUSY):
                answer.success()
            else:
                answer.failure(f"{answer.status_code} to bad input")

    @tag("mix")
    @task(1)
    def impatient(self) -> None:
        """Hangs up in the middle of the upload, unless the gateway has refused it by then."""
        address = urlsplit(self.host or "")
        body = (STUDIES / "patient.zip").read_bytes()
        head = "POST /v1/jobs HTTP/1.1\r\nHost: gateway\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        part = '--x\r\nContent-Disposition: form-data; name="files"; filename="patient.zip"\r\n\r\n'
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(f"{head}Content-Length: {len(body) + 500}\r\n\r\n{part}".encode())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(body[: len(body) // 2])

    def _submit(self, file: str, name: str) -> None:
        with self._post((STUDIES / file).read_bytes(), file, name) as answer:
            if answer.status_code == ACCEPTED:
                with KEPT.open("a", encoding="utf-8") as kept:
                    kept.write(f"{answer.json()['id']}\n")
                answer.success()
            elif answer.status_code == BUSY and answer.headers.get("Retry-After"):
                answer.success()  # the stated refusal, counted from the gateway's own figures
            else:
                answer.failure(f"{answer.status_code} to a good study")

    def _post(self, content: bytes, file: str, name: str):
        headers = {"Idempotency-Key": uuid.uuid4().hex, "Content-Type": "multipart/form-data; boundary=metseg-load"}
        part = f'--metseg-load\r\nContent-Disposition: form-data; name="files"; filename="{file}"\r\n\r\n'
        body = part.encode() + content + b"\r\n--metseg-load--\r\n"
        return self.client.post("/v1/jobs", data=body, headers=headers, name=name, catch_response=True)

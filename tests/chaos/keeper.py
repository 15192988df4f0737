"""A client that records every 202: each accepted job must end, once, with the same mask for the same input."""

import gzip
import hashlib
import io
import threading
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import httpx
from PIL import Image

from metseg import phantom

__all__ = ["Keeper", "Study", "Verdict", "studies"]

PAUSE_S = 0.5
PATIENCE_S = 150.0
ASKED_S = 20.0
REFUSED = frozenset({400, 404, 415, 422})  # 413: sent again, since a worker may have too little memory for a while
"""Answers that a retry does not change."""


class Study(NamedTuple):
    """A submission: slices of one phantom, by name."""

    name: str
    slices: dict[str, bytes]


class Verdict(NamedTuple):
    """The outcome of all accepted jobs.

    Attributes:
        accepted: jobs that were answered with 202.
        succeeded: of these.
        failed: of these, with a reason.
        lost: of these: not found, or not ended in time.
        differing: masks unlike earlier ones of the same input.
        problems: types of the reasons.
    """

    accepted: int
    succeeded: int
    failed: int
    lost: int
    differing: int
    problems: tuple[str, ...]


def studies(slices: int = 6) -> list[Study]:
    """Three heads with lesions, small enough that a worker takes about a second each."""
    found = []
    for seed in (3, 7, 11):
        pixels = phantom.head(seed, slices=slices, lesions=3).volume.pixels
        found.append(Study(f"head-{seed}", {f"s_{index}.png": _png(each) for index, each in enumerate(pixels)}))
    return found


def _png(pixels: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")  # type: ignore[arg-type]
    return buffer.getvalue()


class Keeper:
    """Submits continuously, retries each study until it is accepted, and records what was promised.

    Args:
        url: of the gateway.
        load: studies to submit in turn.
    """

    def __init__(self, url: str, load: Sequence[Study]) -> None:
        self._http = httpx.Client(base_url=url, timeout=ASKED_S)
        self._load = load
        self.first = load[0]
        self._stop = threading.Event()
        self._known: dict[tuple[str, str], str] = {}
        self.kept: list[tuple[str, Study]] = []
        self.refusals = 0
        self._complaints: list[str] = []

    def submit(self, study: Study) -> str | None:
        """Submit a study under one key until it is accepted; None if the load was stopped or the time is over."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        files = [("files", (name, content, "image/png")) for name, content in study.slices.items()]
        deadline = time.monotonic() + PATIENCE_S
        while not self._stop.is_set() and time.monotonic() < deadline:
            try:
                answer = self._http.post("/v1/jobs", files=files, headers=headers)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == httpx.codes.ACCEPTED:
                self.kept.append((answer.json()["id"], study))
                return str(answer.json()["id"])
            if answer is not None and answer.status_code in REFUSED:
                raise AssertionError(f"a good study was refused: {answer.text}")
            self.refusals += 1
            time.sleep(PAUSE_S)
        return None

    def load(self, jobs: int, every_s: float) -> threading.Thread:
        """Submit `jobs` jobs in the background, one every few seconds."""
        self._stop.clear()

        def run() -> None:
            for number in range(jobs):
                try:
                    if self.submit(self._load[number % len(self._load)]) is None:
                        return
                except AssertionError as complaint:
                    self._complaints.append(str(complaint))
                time.sleep(every_s)

        thread = threading.Thread(target=run, name="load", daemon=True)
        thread.start()
        return thread

    def complaints(self) -> list[str]:
        """Errors in the background since the last call."""
        errors, self._complaints = self._complaints, []
        return errors

    def verdict(self, kept: Sequence[tuple[str, Study]], timeout_s: float) -> Verdict:
        """Wait for the end of jobs, and check them."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        ends = [self.end(job_id, deadline) for job_id, _ in kept]
        succeeded = [each for each, end in zip(kept, ends, strict=True) if end is not None and end[0] == "succeeded"]
        failed = [end[1] for end in ends if end is not None and end[0] == "failed"]
        differing = sum(not self._alike(job_id, study) for job_id, study in succeeded)
        return Verdict(
            accepted=len(kept),
            succeeded=len(succeeded),
            failed=len(failed),
            lost=ends.count(None) + failed.count(""),
            differing=differing,
            problems=tuple(sorted(set(failed))),
        )

    def ready(self, timeout_s: float) -> float:
        """The time until the gateway is ready.

        Raises:
            TimeoutError: it does not.
        """
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            answer = self._get("/readyz")
            if answer is not None and answer.status_code == httpx.codes.OK:
                return time.monotonic() - began
            time.sleep(PAUSE_S)
        raise TimeoutError(f"the gateway was not ready within {timeout_s:g} s")

    def get(self, path: str) -> httpx.Response:
        """The first answer other than 5xx; TimeoutError."""
        deadline = time.monotonic() + ASKED_S
        while time.monotonic() < deadline:
            answer = self._get(path)
            if answer is not None and answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return answer
            time.sleep(PAUSE_S)
        raise TimeoutError(f"no answer to {path.rsplit('/', maxsplit=1)[-1]}")

    def promote(self, version: str) -> None:
        """Promote a model."""
        self._http.put("/v1/models/champion", json={"version": version}).raise_for_status()

    def delete(self, job_id: str) -> None:
        """Delete a job."""
        self._http.delete(f"/v1/jobs/{job_id}").raise_for_status()

    def _get(self, path: str) -> httpx.Response | None:
        try:
            return self._http.get(path)
        except httpx.TransportError:
            return None

    def end(self, job_id: str, deadline: float) -> tuple[str, str] | None:
        """Status and reason of a job's end; None if it is lost."""
        while time.monotonic() < deadline:
            answer = self._get(f"/v1/jobs/{job_id}?wait=5")
            if answer is not None and answer.status_code == httpx.codes.NOT_FOUND:
                return None
            if answer is not None and answer.status_code == httpx.codes.OK:
                job = answer.json()
                if job["status"] in ("succeeded", "failed"):
                    return job["status"], job.get("problem", {}).get("type", "")
            time.sleep(PAUSE_S)
        return None

    def _alike(self, job_id: str, study: Study) -> bool:
        """Whether the mask equals, byte by byte, the earlier one of the same input and model."""
        version = self.get(f"/v1/jobs/{job_id}").json()["model_version"]
        mask = gzip.decompress(self.get(f"/v1/jobs/{job_id}/mask").content)
        digest = hashlib.sha256(mask).hexdigest()
        return self._known.setdefault((study.name, version), digest) == digest

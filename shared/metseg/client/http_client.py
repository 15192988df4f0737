"""The client of the REST API, for the page, the command line, tests and other programs."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import httpx

from metseg.atomic_io import atomic_write
from metseg.client.connection import Connection, RemoteProblem, Response, parse
from metseg.client.local_studies import Attachment, open_study
from metseg.contracts import (
    Align,
    Champion,
    Job,
    JobPage,
    JobStatus,
    KeyInfo,
    ModelCard,
    ModelPage,
    Overview,
    Resubmission,
    Result,
)
from metseg.errors import Cancelled
from metseg.results.exports import Export, LesionsFormat, MaskFormat, ProbabilityFormat, find_export

__all__ = ["Client", "VolumeLayer"]

VolumeLayer = Literal["pre", "flair", "post", "mask", "probability", "uncertainty"]

MAX_ATTEMPTS = 4
POLL_S = 3.0
CHUNK_BYTES = 2**20


class Client:
    """A client of one gateway. Thread-safe; closed by `close` or a `with` statement.

    A call is retried if the gateway responds with 503, after the pause that the response asks for, or does not respond
    at all. All calls are idempotent, submissions by an Idempotency-Key.

    Args:
        base_url: of the gateway, without `/v1`.
        timeout_s: for connecting, and between two reads of a response, in addition to any `wait_s`.
        transport: replaces the network in tests.
        api_key: if the deployment has keys.
        max_attempts: per call, including the first one.
    """

    def __init__(
        self,
        base_url: str,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        api_key: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._timeout_s = timeout_s
        headers = {"Accept": "application/json, */*"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        http = httpx.Client(base_url=base_url, timeout=timeout_s, transport=transport, headers=headers)
        self._connection = Connection(http, max_attempts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def segment(
        self,
        study: str | Path,
        threshold: float | None = None,
        model: str | None = None,
        progress: Callable[[Job], None] | None = None,
        *,
        align: Align | None = None,
        uncertainty: bool = False,
    ) -> Result:
        """Submit a study and wait for its result, whose `job_id` identifies the job for further calls.

        Args:
            study: a file, a folder of slices or volumes, or a ZIP; see `metseg.client.local_studies`.
            threshold: None: the model's own.
            model: a version; None: the champion.
            progress: called with the job's state every few seconds.
            align: see `submit`.
            uncertainty: see `submit`.

        Returns:
            The result.

        Raises:
            RemoteProblem: the study was refused, or its job failed.
            Cancelled: someone cancelled the job.
        """
        with open_study(Path(study)) as files:
            job = self.submit(files, threshold, model, align=align, uncertainty=uncertainty)
        job = self.wait(job.id, progress)
        if job.problem is not None:
            raise RemoteProblem(job.problem)
        if job.status is JobStatus.CANCELLED:
            raise Cancelled("The job was cancelled while it waited or ran.")
        return self.result(job.id)

    def wait(self, job_id: str, progress: Callable[[Job], None] | None = None, poll_s: float = POLL_S) -> Job:
        """Wait for a job to end.

        Args:
            job_id: of the job.
            progress: called with the job's state every `poll_s` seconds; it may raise to stop waiting.
            poll_s: how long the gateway holds each request.

        Returns:
            The job: succeeded, failed or cancelled.
        """
        while True:
            job = self.job(job_id, wait_s=poll_s)
            if progress is not None:
                progress(job)
            if job.status.final:
                return job

    def submit(
        self,
        files: Sequence[Attachment | tuple[str, bytes | BinaryIO | Path]],
        threshold: float | None = None,
        model: str | None = None,
        idempotency_key: str | None = None,
        align: Align | None = None,
        *,
        deidentify: bool = False,
        uncertainty: bool = False,
        label: str | None = None,
    ) -> Job:
        """Submit one study; its files are streamed, not read into memory.

        Args:
            files: slices or volumes, each with its name and optionally its sequence.
            threshold: None: the model's own.
            model: a version; None: the champion.
            idempotency_key: the same key with the same files gives the same job; None: a new key.
            align: whether volumes on different grids are registered; None: they are.
            deidentify: remove identities from a DICOM study before the gateway stores it.
            uncertainty: also compute an uncertainty map, which takes longer.
            label: what the study is called in lists of jobs; at most 200 characters.

        Returns:
            The queued job.
        """
        flags = {"deidentify": deidentify, "uncertainty": uncertainty}
        fields = {"threshold": threshold, "model": model, "align": align, "label": label}
        fields |= {name: "true" for name, is_set in flags.items() if is_set}
        attachments = [Attachment(*file) for file in files]
        streams = [file.content.open("rb") if isinstance(file.content, Path) else file.content for file in attachments]
        try:
            return self._read(
                Job,
                "POST",
                "/v1/jobs",
                headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
                data={name: str(value) for name, value in fields.items() if value is not None},
                files=[
                    (file.role or "files", (file.name, content, "application/octet-stream"))
                    for file, content in zip(attachments, streams, strict=True)
                ],
            )
        finally:
            for file, content in zip(attachments, streams, strict=True):
                if isinstance(file.content, Path) and not isinstance(content, bytes):
                    content.close()

    def job(self, job_id: str, wait_s: float = 0) -> Job:
        """The state of a job.

        Args:
            job_id: of the job.
            wait_s: how long, 60 at most, the gateway may delay the response until the job ends.

        Returns:
            The job.
        """
        query = {"wait": f"{wait_s:g}"} if wait_s else {}
        return self._read(Job, "GET", f"/v1/jobs/{job_id}", params=query, timeout=self._timeout_s + wait_s)

    def jobs(self, limit: int = 20, cursor: str | None = None) -> JobPage:
        """A page of jobs, newest first.

        Args:
            limit: jobs per page, 100 at most.
            cursor: `next` of the previous page.

        Returns:
            The page.
        """
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return self._read(JobPage, "GET", "/v1/jobs", params=query)

    def result(self, job_id: str) -> Result:
        """The result of a job that succeeded."""
        return self._read(Result, "GET", f"/v1/jobs/{job_id}/result")

    def export(self, job_id: str, export: Export) -> bytes:
        """One of the files that people download.

        Args:
            job_id: of a job that succeeded.
            export: which; `metseg.results.exports.EXPORTS` lists them all by name.

        Returns:
            The file.
        """
        return self._connection.send("GET", f"/v1/jobs/{job_id}/{export.kind}", params=export.query).content

    def save(self, job_id: str, export: Export, target: Path) -> None:
        """Stream such a file to disk; it appears there whole or not at all.

        Args:
            job_id: of a job that succeeded.
            export: which.
            target: the file to write; its folder exists.
        """
        with atomic_write(target) as file:

            def write(response: httpx.Response) -> None:
                file.seek(0)
                file.truncate()
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)

            self._connection.send("GET", f"/v1/jobs/{job_id}/{export.kind}", read=write, params=export.query)

    def mask(self, job_id: str, format: MaskFormat = "nifti") -> bytes:
        """The mask.

        Args:
            job_id: of a job that succeeded.
            format: of the file.

        Returns:
            The file.
        """
        return self.export(job_id, find_export("mask", format))

    def probability(self, job_id: str, format: ProbabilityFormat = "nifti") -> bytes:
        """The probability map.

        Args:
            job_id: of a job that succeeded.
            format: of the file.

        Returns:
            The file.
        """
        return self.export(job_id, find_export("probability", format))

    def uncertainty(self, job_id: str, format: ProbabilityFormat = "nifti") -> bytes:
        """The uncertainty map.

        Args:
            job_id: of a job that was submitted with `uncertainty` and succeeded.
            format: of the file.

        Returns:
            The file.
        """
        return self.export(job_id, find_export("uncertainty", format))

    def lesions(self, job_id: str, format: LesionsFormat = "csv") -> bytes:
        """The lesions as a table.

        Args:
            job_id: of a job that succeeded.
            format: of the file.

        Returns:
            The file.
        """
        return self.export(job_id, find_export("lesions", format))

    def report(self, job_id: str) -> bytes:
        """One page for people to read or print, as a self-contained HTML file."""
        return self.export(job_id, find_export("report"))

    def structured_report(self, job_id: str) -> bytes:
        """The measurements as a DICOM structured report, of a study that was uploaded as DICOM."""
        return self.export(job_id, find_export("structured-report"))

    def overlays(self, job_id: str) -> bytes:
        """The PNGs of all slices with the contours of their lesions, as a ZIP."""
        return self.export(job_id, find_export("overlays"))

    def animation(self, job_id: str) -> bytes:
        """The study as an animated WebP, lesions outlined."""
        return self.export(job_id, find_export("animation"))

    def overlay(self, job_id: str, index: int) -> bytes:
        """A slice with the contours of its lesions.

        Args:
            job_id: of a job that succeeded.
            index: of the slice; the first is 0.

        Returns:
            A PNG.
        """
        return self._connection.send("GET", f"/v1/jobs/{job_id}/overlay/{index}").content

    def slice(self, job_id: str, index: int) -> bytes:
        """A slice as uploaded, windowed for display.

        Args:
            job_id: of a job that succeeded.
            index: of the slice; the first is 0.

        Returns:
            A PNG.
        """
        return self._connection.send("GET", f"/v1/jobs/{job_id}/slice/{index}").content

    def preview(self, job_id: str) -> bytes:
        """The PNG of the latest slice of a running job and those before it, with the lesions found so far."""
        return self._connection.send("GET", f"/v1/jobs/{job_id}/glimpse").content

    def volume(self, job_id: str, layer: VolumeLayer) -> bytes:
        """A volume for viewers, on the grid of the job's slices.

        Args:
            job_id: of a job that succeeded.
            layer: a channel, windowed to 8 bits, or the mask or a map.

        Returns:
            A `.nii.gz` file.
        """
        with self.volume_chunks(job_id, layer) as (_, chunks):
            return b"".join(chunks)

    @contextmanager
    def volume_chunks(
        self, job_id: str, layer: VolumeLayer, etag: str | None = None
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The same in chunks.

        Args:
            job_id: of a job that succeeded.
            layer: which volume.
            etag: of the caller's copy.

        Yields:
            The ETag and the chunks; no chunks if the caller's copy is current.
        """
        headers = {"If-None-Match": etag} if etag else {}
        with self._connection.stream("GET", f"/v1/jobs/{job_id}/volume/{layer}", headers=headers) as response:
            yield response.headers.get("ETag", ""), response.iter_bytes(CHUNK_BYTES)

    def repeat(self, job_id: str, model: str | None = None, threshold: float | None = None) -> Job:
        """Submit the study of a job again without uploading it.

        The call is not retried, since a retry after a lost response would create a second job.

        Args:
            job_id: of the job.
            model: a version; None: the champion.
            threshold: None: the model's own.

        Returns:
            The new job.
        """
        options = Resubmission(model=model, threshold=threshold).model_dump(exclude_none=True)
        return parse(Job, self._connection.send_once("POST", f"/v1/jobs/{job_id}/repeat", json=options))

    def delete(self, job_id: str) -> None:
        """Cancel a job if it has not ended; delete its inputs and results."""
        self._connection.send("DELETE", f"/v1/jobs/{job_id}")

    def models(self) -> ModelPage:
        """All model versions and the champion."""
        return self._read(ModelPage, "GET", "/v1/models")

    def model(self, version: str) -> ModelCard:
        """The card of a model version."""
        return self._read(ModelCard, "GET", f"/v1/models/{version}")

    def model_report(self, version: str) -> bytes:
        """The training report of a model version, as a self-contained HTML file."""
        return self._connection.send("GET", f"/v1/models/{version}/report").content

    def me(self) -> KeyInfo:
        """The name and scopes of this client's API key."""
        return self._read(KeyInfo, "GET", "/v1/me")

    def overview(self) -> Overview:
        """An overview of the deployment, for admins."""
        return self._read(Overview, "GET", "/v1/overview")

    def promote(self, version: str) -> Champion:
        """Put a version into service."""
        return self._read(Champion, "PUT", "/v1/models/champion", json={"version": version})

    def _read(self, kind: type[Response], method: str, path: str, **request: Any) -> Response:  # noqa: ANN401
        return parse(kind, self._connection.send(method, path, **request))

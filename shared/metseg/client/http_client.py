"""The client of the REST API, for the page, the command line, tests and other programs."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Self

import httpx

from metseg.client.connection import Connection, RemoteProblem, parse
from metseg.client.follow_up_client import FollowUpClient
from metseg.client.local_studies import Attachment, open_study
from metseg.contracts import (
    Align,
    Champion,
    Job,
    JobPage,
    JobStatus,
    KeyInfo,
    ListedJob,
    ModelCard,
    ModelPage,
    Overview,
    Resubmission,
    Result,
    Role,
    SequenceChoice,
)
from metseg.errors import Cancelled

__all__ = ["Client", "submission_fields"]

MAX_ATTEMPTS = 4
POLL_S = 3.0


def submission_fields(**options: float | str | date | bool | None) -> dict[str, str]:
    """The fields of a submission in addition to its files.

    Args:
        options: as in `Client.submit`, by name; None is left out.

    Returns:
        The text of each field.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


class Client(FollowUpClient):
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
        headers = {"Accept": "application/json, */*"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        http = httpx.Client(base_url=base_url, timeout=timeout_s, transport=transport, headers=headers)
        super().__init__(Connection(http, max_attempts, timeout_s))

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
        sequence: SequenceChoice | None = None,
        align: Align | None = None,
        uncertainty: bool = False,
    ) -> Result:
        """Submit a study and wait for its result, whose `job_id` identifies the job for further calls.

        Args:
            study: a file, a folder of slices or volumes, or a ZIP; see `metseg.client.local_studies`.
            threshold: None: the model's own.
            model: a version; None: the champion.
            progress: called with the job's state every few seconds.
            sequence: see `submit`.
            align: see `submit`.
            uncertainty: see `submit`.

        Returns:
            The result.

        Raises:
            RemoteProblem: the study was refused, or its job failed.
            Cancelled: someone cancelled the job.
        """
        with open_study(Path(study)) as files:
            job = self.submit(files, threshold, model, align=align, uncertainty=uncertainty, sequence=sequence)
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
        sequence: SequenceChoice | None = None,
        patient: str | None = None,
        taken_on: date | None = None,
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
            sequence: of a study of one grey image; None: its name, header or pixels decide.
            patient: whose study it is, a pseudonym, for follow-up.
            taken_on: when it was acquired, for follow-up.

        Returns:
            The queued job.
        """
        fields = submission_fields(
            threshold=threshold, model=model, align=align, label=label, sequence=sequence, patient=patient,
            taken_on=taken_on, deidentify=deidentify or None, uncertainty=uncertainty or None,
        )  # fmt: skip
        attachments = [Attachment(*file) for file in files]
        streams = [file.content.open("rb") if isinstance(file.content, Path) else file.content for file in attachments]
        try:
            return self._read(
                Job,
                "POST",
                "/v1/jobs",
                headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
                data=fields,
                files=[
                    (file.role or "files", (file.name, content, "application/octet-stream"))
                    for file, content in zip(attachments, streams, strict=True)
                ],
            )
        finally:
            for file, content in zip(attachments, streams, strict=True):
                if isinstance(file.content, Path) and not isinstance(content, bytes):
                    content.close()

    def forward(self, body: Iterator[bytes], content_type: str, size: int, idempotency_key: str) -> Job:
        """Submit a study whose request somebody else has made, such as a browser.

        The call is not retried, since the request is streamed and cannot be read again.

        Args:
            body: of the request, multipart, as `submit` sends it.
            content_type: of the body.
            size: of the body, in bytes.
            idempotency_key: the same key with the same files gives the same job.

        Returns:
            The queued job.
        """
        headers = {"Content-Type": content_type, "Content-Length": str(size), "Idempotency-Key": idempotency_key}
        return parse(Job, self._connection.send_once("POST", "/v1/jobs", headers=headers, content=body))

    def job(self, job_id: str, wait_s: float = 0) -> Job:
        """The state of a job.

        Args:
            job_id: of the job.
            wait_s: how long, 60 at most, the gateway may delay the response until the job ends.

        Returns:
            The job.
        """
        return self._read_state(Job, f"/v1/jobs/{job_id}", wait_s)

    def jobs(self, limit: int = 20, cursor: str | None = None, *, everyone: bool = False) -> JobPage:
        """A page of this key's jobs, newest first.

        Args:
            limit: jobs per page, 100 at most.
            cursor: `next` of the previous page.
            everyone: the jobs of all keys, for an admin.

        Returns:
            The page.
        """
        query = {"limit": str(limit), "cursor": cursor, "everyone": "true" if everyone else None}
        return self._read(JobPage, "GET", "/v1/jobs", params={name: each for name, each in query.items() if each})

    def visible_jobs(self, limit: int = 20, cursor: str | None = None) -> JobPage:
        """A page of all jobs that this key may see, newest first.

        Args:
            limit: see `jobs`.
            cursor: see `jobs`.

        Returns:
            The page.
        """
        return self.jobs(limit, cursor, everyone=self.me().is_admin)

    def existing_jobs(self, job_ids: Sequence[str]) -> list[ListedJob]:
        """The jobs with these ids, 100 at most, in that order; those that do not exist are left out."""
        return self._read(JobPage, "GET", "/v1/jobs", params={"id": list(job_ids)}).jobs if job_ids else []

    def repeat(
        self,
        job_id: str,
        model: str | None = None,
        threshold: float | None = None,
        sequence: SequenceChoice | None = None,
        exchanged: Mapping[Role, Role] = MappingProxyType({}),
    ) -> Job:
        """Submit the study of a job again without uploading it.

        The call is not retried, since a retry after a lost response would create a second job.

        Args:
            job_id: of the job.
            model: a version; None: the champion.
            threshold: None: the model's own.
            sequence: of a study of one grey image; None: as submitted.
            exchanged: what an image is, by what the result says that it was taken for.

        Returns:
            The new job.
        """
        chosen = Resubmission(model=model, threshold=threshold, sequence=sequence, exchanged=dict(exchanged))
        options = chosen.model_dump(exclude_none=True)
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

"""The part of the client that reads the results of a job."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from metseg.atomic_io import atomic_write
from metseg.client.connection import Connection, Response, parse
from metseg.contracts import Result, Structure
from metseg.results.exports import (
    Export,
    LesionsFormat,
    MaskFormat,
    MaskStructure,
    ProbabilityFormat,
    find_export,
)

__all__ = ["ResultReader", "VolumeLayer"]

VolumeLayer = Literal["pre", "flair", "post", "mask", "whole", "probability", "uncertainty"]

CHUNK_BYTES = 2**20


class ResultReader:
    """Reads the results of a gateway's jobs.

    Args:
        connection: to the gateway.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def result(self, job_id: str, *, reviewed: bool = True) -> Result:
        """The result of a job that succeeded.

        Args:
            job_id: of the job.
            reviewed: False: the model's own answer, whatever a reader changed.

        Returns:
            The result.
        """
        return self._read(Result, "GET", f"/v1/jobs/{job_id}/result", params=_state(reviewed))

    def export(self, job_id: str, export: Export, *, reviewed: bool = True) -> bytes:
        """One of the files that people download.

        Args:
            job_id: of a job that succeeded.
            export: which; `metseg.results.exports.EXPORTS` lists them all by name.
            reviewed: False: of the model's own answer, whatever a reader changed.

        Returns:
            The file.
        """
        query = export.query | _state(reviewed)
        return self._connection.send("GET", f"/v1/jobs/{job_id}/{export.kind}", params=query).content

    @contextmanager
    def export_chunks(self, job_id: str, export: Export) -> Iterator[Iterator[bytes]]:
        """The same in chunks, of the state in force.

        Args:
            job_id: of a job that succeeded.
            export: which.

        Yields:
            The chunks.
        """
        with self._connection.stream("GET", f"/v1/jobs/{job_id}/{export.kind}", params=export.query) as response:
            yield response.iter_bytes(CHUNK_BYTES)

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

    def mask(
        self, job_id: str, format: MaskFormat = "nifti", structure: MaskStructure = "whole", margin_mm: float = 0
    ) -> bytes:
        """The mask of a structure.

        Args:
            job_id: of a job that succeeded.
            format: of the file.
            structure: `whole`, `core`, `labels` for both in one map, or `lesions` for the number of each lesion.
            margin_mm: of `rtstruct`: of a PTV around each GTV; 0 for none.

        Returns:
            The file.

        Raises:
            RemoteProblem: the job could not know the core (`/problems/no-core`).
        """
        return self.export(job_id, find_export("mask", format, structure, margin_mm))

    def probability(self, job_id: str, format: ProbabilityFormat = "nifti", structure: Structure = "whole") -> bytes:
        """The probability map of a structure.

        Args:
            job_id: of a job that succeeded.
            format: of the file.
            structure: `whole` or `core`.

        Returns:
            The file.

        Raises:
            RemoteProblem: the job could not know the core (`/problems/no-core`).
        """
        return self.export(job_id, find_export("probability", format, structure))

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

    def secondary_capture(self, job_id: str) -> bytes:
        """Pictures of all slices with outlines as a ZIP of DICOM files, of a study that was uploaded as DICOM."""
        return self.export(job_id, find_export("secondary-capture"))

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
        self, job_id: str, layer: VolumeLayer, etag: str | None = None, *, reviewed: bool = True
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The same in chunks.

        Args:
            job_id: of a job that succeeded.
            layer: which volume.
            etag: of the caller's copy.
            reviewed: False: of the model's own answer, whatever a reader changed.

        Yields:
            The ETag and the chunks; no chunks if the caller's copy is current.
        """
        headers = {"If-None-Match": etag} if etag else {}
        path, params = f"/v1/jobs/{job_id}/volume/{layer}", _state(reviewed)
        with self._connection.stream("GET", path, headers=headers, params=params) as response:
            yield response.headers.get("ETag", ""), response.iter_bytes(CHUNK_BYTES)

    def _read(self, kind: type[Response], method: str, path: str, **request: Any) -> Response:  # noqa: ANN401
        return parse(kind, self._connection.send(method, path, **request))

    def _read_state(self, kind: type[Response], path: str, wait_s: float) -> Response:
        """A state that the gateway may delay until it is final; the timeout is as much longer."""
        query = {"wait": f"{wait_s:g}"} if wait_s else {}
        return self._read(kind, "GET", path, params=query, timeout=self._connection.timeout_s + wait_s)


def _state(reviewed: bool) -> dict[str, str]:
    """The query for the reviewed state, which is the default, or the model's own."""
    return {} if reviewed else {"reviewed": "false"}

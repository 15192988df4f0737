"""A study and its maps as volumes on one grid, for viewers that overlay them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count
from typing import Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from metseg.client import VolumeLayer
from metseg.contracts import JobStatus
from metseg.errors import NotFound
from metseg.formats import write_display_volume
from metseg.imaging import ROLES
from metseg.results.exports import MASK
from metseg_api.auth import REQUIRE_READ
from metseg_api.gateway import CurrentGateway
from metseg_api.openapi import NO_RESULT, file_responses, problem_responses
from metseg_api.routes.paths import JobId, View
from metseg_api.stored_job import StoredJob
from metseg_api.streams import (
    ChunkedResponse,
    File,
    file_headers,
    is_current,
    key_name,
    rendered_etag,
    stored_response,
)

READ_AHEAD_BYTES = 2**20
"""Of the slices, fetched at a time: what stays in memory for a slow client."""
MEDIA_TYPE = "application/gzip"

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[REQUIRE_READ])


@router.get(
    "/volume/{layer}",
    summary="A channel or map for viewers",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses(MEDIA_TYPE)},
)
async def volume(
    request: Request, gateway: CurrentGateway, view: View, layer: VolumeLayer, format: Literal["nifti"] = "nifti"
) -> Response:
    """A channel windowed to 8 bits, or the mask or a map of the study, as NIfTI.

    All layers of a job have the grid of its slices, whatever the grid of the upload was.
    """
    if layer not in ROLES:
        return await stored_response(gateway, request, _file(StoredJob(gateway, view), layer, f"{layer}.nii.gz"))
    key = key_name(request)
    await gateway.downloads.acquire(key)
    with ExitStack() as stack:
        stack.callback(gateway.downloads.release, key)
        job = StoredJob(gateway, view.own, READ_AHEAD_BYTES)
        response = await to_thread.run_sync(_channel_response, request, job, layer)
        if isinstance(response, ChunkedResponse):
            response.on_sent = stack.pop_all().close
    return response


def _file(job: StoredJob, layer: VolumeLayer, source: str) -> File:
    return File(job, source, MEDIA_TYPE, f"{layer}.nii.gz")


def _channel_response(request: Request, job: StoredJob, layer: VolumeLayer) -> Response:
    """A channel, assembled from its slices while it is sent; 304 if the client's copy is current."""
    headers = file_headers(_file(job, layer, MASK), rendered_etag(job, MASK, layer))
    if is_current(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return ChunkedResponse(_channel_chunks(job, ROLES.index(layer)), headers, MEDIA_TYPE)


@contextmanager
def _channel_chunks(job: StoredJob, channel: int) -> Iterator[Iterator[bytes]]:
    """The chunks of a channel; an error in its first slice is raised before the response starts."""
    with job.open_artefact(MASK) as mask:
        chunks = write_display_volume(mask, _slices(job), channel)
        first = [next(chunks), next(chunks)]
    yield chain(first, chunks)


def _slices(job: StoredJob) -> Iterator[bytes]:
    """The PNGs of all slices in order."""
    with suppress(NotFound):
        yield from map(job.slice_png, count())


@router.get(
    "/glimpse",
    summary="Preview of a running job",
    response_class=Response,
    responses={**problem_responses(NotFound), **file_responses("image/png")},
)
def glimpse(gateway: CurrentGateway, job_id: JobId) -> Response:
    """The latest slice that is done and those before it, as a PNG with contours.

    It is drawn each second while somebody asks for it; so the first call finds none.
    """
    status = gateway.jobs.get(job_id).status
    if status is not JobStatus.RUNNING:
        raise NotFound(f"The job is {status}; only a running job has a preview.")
    return Response(gateway.jobs.preview(job_id), headers={"Cache-Control": "no-store"}, media_type="image/png")

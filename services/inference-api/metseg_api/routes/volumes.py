"""A study and what was found in it as volumes of one grid, for viewers that lay them over one another."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from typing import Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from metseg.client import VolumeLayer
from metseg.contracts import JobStatus
from metseg.errors import InvalidParameter, NotFinished, NotFound
from metseg.formats import display_volume
from metseg_api.auth import READING
from metseg_api.gateway import Gateway, TheGateway
from metseg_api.openapi import files, problems
from metseg_api.routes.paths import JobId
from metseg_api.streams import Artefact, Download, StoredJob, StoredResponse, headers_of, known, stored

CHANNELS: tuple[VolumeLayer, ...] = ("pre", "flair", "post")
AHEAD_BYTES = 2**20
"""Of the pictures, fetched at a time: what a slow client may leave in memory."""
MEDIA_TYPE = "application/gzip"

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[READING])


@router.get(
    "/volume/{layer}",
    summary="A channel or a map, for viewers",
    response_class=Response,
    responses={**problems(NotFound, NotFinished, InvalidParameter), **files(MEDIA_TYPE)},
)
async def volume(
    request: Request, gateway: TheGateway, job_id: JobId, layer: VolumeLayer, format: Literal["nifti"] = "nifti"
) -> Response:
    """A channel windowed to 8 bits, or the mask or a map of the study, as NIfTI.

    All layers of a job lie on one grid, that of its slices, whatever the upload's own was.
    """
    download = Download(MEDIA_TYPE, f"{layer}.nii.gz")
    if layer not in CHANNELS:
        return await stored(gateway, request, Artefact(job_id, f"{layer}.nii.gz", download))
    return await to_thread.run_sync(_shown, gateway, request, job_id, layer, download)


def _shown(gateway: Gateway, request: Request, job_id: str, layer: VolumeLayer, download: Download) -> Response:
    """A channel, put together from the pictures of its slices while it is sent; 304 where the client has it."""
    mask = gateway.store.stat(gateway.jobs.artefact_key(job_id, "mask.nii.gz"))
    headers = headers_of(Artefact(job_id, mask.key, download), f"{mask.etag}-{layer}")
    if known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return StoredResponse(_assembled(gateway, job_id, CHANNELS.index(layer)), headers, MEDIA_TYPE)


@contextmanager
def _assembled(gateway: Gateway, job_id: str, channel: int) -> Iterator[Iterator[bytes]]:
    """The chunks of a channel; what is wrong with its first slice is told before the answer begins."""
    kept = StoredJob(gateway, job_id, AHEAD_BYTES)
    chunks = display_volume(kept.get("mask.nii.gz"), _pictures(kept), channel)
    first = [next(chunks), next(chunks)]
    yield chain(first, chunks)


def _pictures(kept: StoredJob) -> Iterator[bytes]:
    """The slices in order."""
    with suppress(NotFound):
        yield from map(kept.picture, count())


@router.get(
    "/glimpse",
    summary="What is marked so far",
    response_class=Response,
    responses={**problems(NotFound), **files("image/png")},
)
def glimpse(gateway: TheGateway, job_id: JobId) -> Response:
    """While a job runs: the latest slice that is done and those before it, as a PNG with outlines; anew each second."""
    status = gateway.jobs.get(job_id).status
    if status is not JobStatus.RUNNING:
        raise NotFound(f"The job is {status}; only one that runs has a glimpse.")
    return Response(gateway.jobs.glimpse(job_id), headers={"Cache-Control": "no-store"}, media_type="image/png")

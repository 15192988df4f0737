"""What was found: figures, masks, probabilities and pictures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response

from metseg.client import MaskFormat, ProbabilityFormat
from metseg.contracts import Result
from metseg.errors import InvalidParameter, NotAvailable, NotFinished, NotFound
from metseg.results import exports
from metseg_api.auth import READING
from metseg_api.gateway import Gateway, TheGateway
from metseg_api.openapi import files, problems
from metseg_api.routes.paths import JobId
from metseg_api.streams import Artefact, Download, made, nifti, stored

MASKS: dict[MaskFormat, Download] = {
    "png": Download("image/png", "mask.png"),
    "tiff": Download("image/tiff", "mask.tiff"),
    "nifti": Download("application/gzip", "mask.nii.gz"),
    "zip": Download("application/zip", "masks.zip"),
    "dicom-seg": Download("application/dicom", "segmentation.dcm"),
}
PROBABILITIES: dict[ProbabilityFormat, Download] = {
    "png": Download("image/png", "probability.png"),
    "tiff": Download("image/tiff", "probability.tiff"),
    "nifti": Download("application/gzip", "probability.nii.gz"),
    "zip": Download("application/zip", "probabilities.zip"),
}
UNCERTAINTIES: dict[ProbabilityFormat, Download] = {
    "png": Download("image/png", "uncertainty.png"),
    "tiff": Download("image/tiff", "uncertainty.tiff"),
    "nifti": Download("application/gzip", "uncertainty.nii.gz"),
    "zip": Download("application/zip", "uncertainties.zip"),
}
NOT_THERE = (NotFound, NotFinished, InvalidParameter)

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[READING])
Index = Annotated[int, Path(ge=0, le=9999, description="of the slice; the first is 0")]


@router.get("/result", summary="Figures", responses=problems(NotFound, NotFinished))
def result(gateway: TheGateway, job_id: JobId) -> Result:
    """Each lesion and each slice in figures, the model that found them, and warnings."""
    return gateway.jobs.result(job_id)


@router.get(
    "/mask",
    summary="The mask",
    response_class=Response,
    responses={**problems(*NOT_THERE, NotAvailable), **files(*(each.media_type for each in MASKS.values()))},
)
async def mask(request: Request, gateway: TheGateway, job_id: JobId, format: MaskFormat = "nifti") -> Response:
    """The mask in the size of the upload: 0 and 1 in NIfTI, 0 and 255 in pictures.

    Where NIfTI was uploaded, `nifti` has its grid and header, voxel for voxel; all else is in the order of the slices.
    `png` and `tiff` have a page for each slice; `zip` has a PNG `<name>_mask.png` for each uploaded slice;
    `dicom-seg` is there for a study that came as DICOM.
    """
    if format == "dicom-seg":
        return await _dicom(gateway, request, Artefact(job_id, "segmentation.dcm", MASKS[format]))
    if format == "nifti":
        return await nifti(gateway, request, Artefact(job_id, "mask.nii.gz", MASKS[format]))
    make = partial(exports.mask, format=format)
    return await made(gateway, request, Artefact(job_id, "mask.nii.gz", MASKS[format]), make)


@router.get(
    "/structured-report",
    summary="The measurements as a DICOM structured report",
    response_class=Response,
    responses={**problems(NotFound, NotFinished, NotAvailable), **files("application/dicom")},
)
async def structured_report(request: Request, gateway: TheGateway, job_id: JobId) -> Response:
    """Each lesion's volume and diameters after template TID 1500, for a study that came as DICOM."""
    download = Download("application/dicom", "report.dcm")
    return await _dicom(gateway, request, Artefact(job_id, "report.dcm", download))


@router.get(
    "/probability",
    summary="The probability map",
    response_class=Response,
    responses={**problems(*NOT_THERE, NotAvailable), **files(*(each.media_type for each in PROBABILITIES.values()))},
)
async def probability(
    request: Request, gateway: TheGateway, job_id: JobId, format: ProbabilityFormat = "nifti"
) -> Response:
    """The probability of a lesion at each pixel, in 16 bits; 65535 is 1 in pictures.

    `tiff` has a page for each slice, `zip` a PNG `<name>_probability.png` for each; `png` is for a lone slice.
    """
    download = PROBABILITIES[format]
    if format == "nifti":
        return await nifti(gateway, request, Artefact(job_id, "probability.nii.gz", download))
    make = partial(exports.probability, format=format)
    return await made(gateway, request, Artefact(job_id, "probability.nii.gz", download), make)


@router.get(
    "/uncertainty",
    summary="The uncertainty map",
    response_class=Response,
    responses={**problems(*NOT_THERE, NotAvailable), **files(*(each.media_type for each in UNCERTAINTIES.values()))},
)
async def uncertainty(
    request: Request, gateway: TheGateway, job_id: JobId, format: ProbabilityFormat = "nifti"
) -> Response:
    """How far several looks at the study differ at each pixel, of a job that was submitted with `uncertainty=true`.

    Formats are as of the probability map, with names `<name>_uncertainty.png`; 1 is as far as looks can differ.
    """
    artefact = Artefact(job_id, "uncertainty.nii.gz", UNCERTAINTIES[format])
    try:
        if format == "nifti":
            return await nifti(gateway, request, artefact)
        return await made(gateway, request, artefact, partial(exports.uncertainty, format=format))
    except NotFound:
        await to_thread.run_sync(gateway.jobs.results, job_id)
        raise NotAvailable("This job was not asked how sure it is; submit the study with uncertainty=true.") from None


@router.get(
    "/overlay/{index}",
    summary="A slice with its lesions",
    response_class=Response,
    responses={**problems(*NOT_THERE), **files("image/png")},
)
async def overlay(request: Request, gateway: TheGateway, job_id: JobId, index: Index) -> Response:
    """A slice as a PNG with its lesions drawn on it."""
    artefact = Artefact(job_id, "mask.nii.gz", Download("image/png", f"overlay_{index:04d}.png", "inline"))
    async with _told(gateway, job_id, index):
        return await made(gateway, request, artefact, partial(exports.overlay, index=index))


@router.get(
    "/slice/{index}",
    summary="A slice as uploaded",
    response_class=Response,
    responses={**problems(*NOT_THERE), **files("image/png")},
)
async def slice_(request: Request, gateway: TheGateway, job_id: JobId, index: Index) -> Response:
    """A slice as a PNG, windowed for display, with nothing drawn on it."""
    artefact = Artefact(job_id, "mask.nii.gz", Download("image/png", f"slice_{index:04d}.png", "inline"))
    async with _told(gateway, job_id, index):
        return await made(gateway, request, artefact, lambda kept: kept.picture(index), quick=True)


async def _dicom(gateway: Gateway, request: Request, artefact: Artefact) -> Response:
    """A result in DICOM, or why there is none."""
    try:
        return await stored(gateway, request, artefact)
    except NotFound:
        await to_thread.run_sync(gateway.jobs.results, artefact.job_id)
        raise NotAvailable(
            "Results in DICOM need a study that came as DICOM, with all that they refer to; ask for nifti, png, tiff "
            "or zip."
        ) from None


@asynccontextmanager
async def _told(gateway: Gateway, job_id: str, index: int) -> AsyncIterator[None]:
    """Tell what is missing: the job itself, or its slice."""
    try:
        yield
    except NotFound:
        await to_thread.run_sync(gateway.jobs.get, job_id)
        raise NotFound(f"This job has no slice {index}.") from None

"""Results: measurements, masks, probability maps and slices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, BinaryIO

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from metseg.contracts import Result, Structure
from metseg.errors import NoCore, NotAvailable, NotFound
from metseg.results.exports import (
    MAX_MARGIN_MM,
    Export,
    FinishedJob,
    MaskFormat,
    MaskStructure,
    ProbabilityFormat,
    find_export,
    media_types,
    render_overlay,
)
from metseg_api.auth import REQUIRE_READ
from metseg_api.gateway import CurrentGateway, Gateway
from metseg_api.openapi import NO_RESULT, file_responses, problem_responses
from metseg_api.routes.paths import View
from metseg_api.stored_job import JobView, StoredJob
from metseg_api.streams import File, converted_response, export_response

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[REQUIRE_READ])
Index = Annotated[int, Path(ge=0, le=9999, description="of the slice; the first is 0")]
Margin = Annotated[
    float,
    Query(ge=0, le=MAX_MARGIN_MM, allow_inf_nan=False, description="of rtstruct: of a PTV around each GTV"),
]


@router.get("/result", summary="The result", responses=problem_responses(*NO_RESULT))
def result(gateway: CurrentGateway, view: View) -> Result:
    """Measurements of each lesion and each slice, the model that found them, and warnings."""
    return gateway.jobs.result(view.job_id, reviewed=view.reviewed)


@router.get(
    "/mask",
    summary="The mask",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT, NoCore, NotAvailable), **file_responses(*media_types("mask"))},
)
async def mask(  # noqa: PLR0917 (fields of the query)
    request: Request,
    gateway: CurrentGateway,
    view: View,
    format: MaskFormat = "nifti",
    structure: MaskStructure = "whole",
    margin_mm: Margin = 0,
) -> Response:
    """The mask of a structure in the size of the upload: 0 and 1 in NIfTI, 0 and 255 in pictures.

    `whole` is the FLAIR abnormality with the tumour in it; `core` is the tumour itself, known only with post-contrast
    T1; `labels`, in NIfTI alone, is 1 in the core and 2 in the rest of the whole; `lesions`, in NIfTI alone, is the
    number of each lesion, as in the result and the report. `dicom-seg` has all of them.

    For an uploaded volume, `nifti` has its grid and position, voxel for voxel; all other formats are in slice order.
    `png` and `tiff` have a page per slice; `zip` has a PNG `<name>_mask.png` per uploaded slice; `dicom-seg` exists for
    studies that were uploaded as DICOM, and so does `rtstruct`: a structure set with the contours of each lesion on the
    source's images, a GTV where it is of the core, and with `margin_mm` a PTV that far around it.
    """
    export = find_export("mask", format, structure, margin_mm)
    return await (_dicom if export.needs_dicom else export_response)(gateway, request, view, export)


@router.get(
    "/structured-report",
    summary="The measurements as a DICOM structured report",
    response_class=Response,
    responses={
        **problem_responses(*NO_RESULT, NotAvailable),
        **file_responses(*media_types("structured-report")),
    },
)
async def structured_report(request: Request, gateway: CurrentGateway, view: View) -> Response:
    """Each lesion's volume and diameters in template TID 1500, for a study that was uploaded as DICOM."""
    return await _dicom(gateway, request, view, find_export("structured-report"))


@router.get(
    "/secondary-capture",
    summary="All slices with their lesions, as DICOM",
    response_class=Response,
    responses={
        **problem_responses(*NO_RESULT, NotAvailable),
        **file_responses(*media_types("secondary-capture")),
    },
)
async def secondary_capture(request: Request, gateway: CurrentGateway, view: View) -> Response:
    """Pictures with outlines and lesion numbers for a PACS that shows no SEG, of a study that was uploaded as DICOM.

    A ZIP with a Secondary Capture `0001.dcm` for each slice, all of one series of the study.
    """
    return await _dicom(gateway, request, view, find_export("secondary-capture"))


@router.get(
    "/probability",
    summary="The probability map",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT, NoCore, NotAvailable), **file_responses(*media_types("probability"))},
)
async def probability(
    request: Request,
    gateway: CurrentGateway,
    view: View,
    format: ProbabilityFormat = "nifti",
    structure: Structure = "whole",
) -> Response:
    """The probability of a structure at each pixel, in 16 bits; in pictures 65535 is 1.

    `tiff` has a page per slice, `zip` a PNG `<name>_probability.png` per slice; `png` is for a single slice.
    """
    return await export_response(gateway, request, view, find_export("probability", format, structure))


@router.get(
    "/uncertainty",
    summary="The uncertainty map",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT, NotAvailable), **file_responses(*media_types("uncertainty"))},
)
async def uncertainty(
    request: Request, gateway: CurrentGateway, view: View, format: ProbabilityFormat = "nifti"
) -> Response:
    """How far mirrored predictions disagree at each pixel, of a job that was submitted with `uncertainty=true`.

    Formats are those of the probability map, with names `<name>_uncertainty.png`; 1 is the largest disagreement.
    """
    try:
        return await export_response(gateway, request, view, find_export("uncertainty", format))
    except NotFound:
        await to_thread.run_sync(gateway.jobs.results, view.job_id)
        raise NotAvailable("This job has no uncertainty map; submit the study with uncertainty=true.") from None


@router.get(
    "/overlay/{index}",
    summary="A slice with its lesions",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses("image/png")},
)
async def overlay(request: Request, gateway: CurrentGateway, view: View, index: Index) -> Response:
    """A slice as a PNG with the contours of its lesions."""
    file = File(StoredJob(gateway, view), "mask.nii.gz", "image/png", f"overlay_{index:04d}.png", "inline")
    async with _slice_not_found(gateway, view, index):
        write = partial(render_overlay, index=index)
        return await converted_response(gateway, request, file, write, slices=index + 1)


@router.get(
    "/slice/{index}",
    summary="A slice as uploaded",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses("image/png")},
)
async def slice_(request: Request, gateway: CurrentGateway, view: View, index: Index) -> Response:
    """A slice as a PNG, windowed for display, without contours."""
    file = File(StoredJob(gateway, view.own), "mask.nii.gz", "image/png", f"slice_{index:04d}.png", "inline")
    async with _slice_not_found(gateway, view, index):

        def write(job: FinishedJob, target: BinaryIO) -> None:
            target.write(job.slice_png(index))

        return await converted_response(gateway, request, file, write, quick=True)


async def _dicom(gateway: Gateway, request: Request, view: JobView, export: Export) -> Response:
    """An export in DICOM, or the reason why there is none."""
    try:
        return await export_response(gateway, request, view, export)
    except NotFound:
        await to_thread.run_sync(gateway.jobs.results, view.job_id)
        raise NotAvailable(
            "Results in DICOM need a study that was uploaded as DICOM, with all attributes that they refer to; request "
            "nifti, png, tiff or zip."
        ) from None


@asynccontextmanager
async def _slice_not_found(gateway: Gateway, view: JobView, index: int) -> AsyncIterator[None]:
    """Say what does not exist: the job or the slice."""
    try:
        yield
    except NotFound:
        await to_thread.run_sync(gateway.jobs.get, view.job_id)
        raise NotFound(f"This job has no slice {index}.") from None

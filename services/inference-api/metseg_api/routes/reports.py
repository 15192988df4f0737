"""What was found, for people and for their tables: a page to read or print, the lesions as rows, a moving picture."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from metseg.client import LesionsFormat
from metseg.errors import InvalidParameter, NotFinished, NotFound
from metseg.results import exports
from metseg.results.exports import Kept
from metseg_api.auth import READING
from metseg_api.gateway import TheGateway
from metseg_api.openapi import files, problems
from metseg_api.routes.paths import JobId
from metseg_api.streams import Artefact, Download, made

TABLES: dict[LesionsFormat, tuple[Callable[[Kept], bytes], Download]] = {
    "csv": (exports.lesions_csv, Download("text/csv", "lesions.csv")),
    "json": (exports.lesions_json, Download("application/json", "lesions.json")),
}
OVERLAYS = Download("application/zip", "overlays.zip")
SHEET = Download("text/html", "report.html", "inline")
ANIMATION = Download("image/webp", "animation.webp", "inline")
NOTHING_BUT_ITSELF = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
NOT_THERE = (NotFound, NotFinished, InvalidParameter)

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[READING])


@router.get(
    "/lesions",
    summary="The lesions as a table",
    response_class=Response,
    responses={**problems(*NOT_THERE), **files("text/csv", "application/json")},
)
async def lesions(request: Request, gateway: TheGateway, job_id: JobId, format: LesionsFormat = "csv") -> Response:
    """One row a lesion, largest first; the names of the columns tell the units. Cells are empty where no spacing is."""
    make, download = TABLES[format]
    return await made(gateway, request, Artefact(job_id, "mask.nii.gz", download), make)


@router.get(
    "/report",
    summary="A page to read or print",
    response_class=Response,
    responses={**problems(*NOT_THERE), **files("text/html")},
)
async def report(request: Request, gateway: TheGateway, job_id: JobId) -> Response:
    """Pictures, figures, model and warnings on one sheet of A4: HTML without scripts that needs nothing beside it."""
    artefact = Artefact(job_id, "mask.nii.gz", SHEET)
    return await made(gateway, request, artefact, exports.sheet, Content_Security_Policy=NOTHING_BUT_ITSELF)


@router.get(
    "/animation",
    summary="The study as a moving picture",
    response_class=Response,
    responses={**problems(*NOT_THERE), **files("image/webp")},
)
async def animation(request: Request, gateway: TheGateway, job_id: JobId) -> Response:
    """An animated WebP, one frame a slice, 512 pixels at its longer side, lesions outlined."""
    return await made(gateway, request, Artefact(job_id, "mask.nii.gz", ANIMATION), exports.render_animation)


@router.get(
    "/overlays",
    summary="All slices with their lesions",
    response_class=Response,
    responses={**problems(*NOT_THERE), **files("application/zip")},
)
async def overlays(request: Request, gateway: TheGateway, job_id: JobId) -> Response:
    """A ZIP with a PNG `<name>_overlay.png` for each uploaded slice, lesions outlined."""
    return await made(gateway, request, Artefact(job_id, "mask.nii.gz", OVERLAYS), exports.overlays)

"""Results for people and for spreadsheets: a report to read or print, a table of lesions, overlays, an animation."""

from fastapi import APIRouter, Request, Response

from metseg.results.exports import LesionsFormat, find_export, media_types
from metseg_api.auth import REQUIRE_READ
from metseg_api.gateway import CurrentGateway
from metseg_api.openapi import NO_RESULT, file_responses, problem_responses
from metseg_api.routes.paths import View
from metseg_api.streams import export_response

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[REQUIRE_READ])


@router.get(
    "/lesions",
    summary="The lesions as a table",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses(*media_types("lesions"))},
)
async def lesions(request: Request, gateway: CurrentGateway, view: View, format: LesionsFormat = "csv") -> Response:
    """One row per lesion, largest first; column names contain the units. Without spacing, sizes in mm are empty."""
    return await export_response(gateway, request, view, find_export("lesions", format))


@router.get(
    "/report",
    summary="A report to read or print",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses(*media_types("report"))},
)
async def report(request: Request, gateway: CurrentGateway, view: View) -> Response:
    """Pictures, measurements, model and warnings on one page of A4: self-contained HTML without scripts."""
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return await export_response(gateway, request, view, find_export("report"), headers)


@router.get(
    "/animation",
    summary="The study as an animation",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses(*media_types("animation"))},
)
async def animation(request: Request, gateway: CurrentGateway, view: View) -> Response:
    """An animated WebP, one frame per slice, 512 pixels on its longer side, lesions outlined."""
    return await export_response(gateway, request, view, find_export("animation"))


@router.get(
    "/overlays",
    summary="All slices with their lesions",
    response_class=Response,
    responses={**problem_responses(*NO_RESULT), **file_responses(*media_types("overlays"))},
)
async def overlays(request: Request, gateway: CurrentGateway, view: View) -> Response:
    """A ZIP with a PNG `<name>_overlay.png` for each uploaded slice, lesions outlined."""
    return await export_response(gateway, request, view, find_export("overlays"))

"""The model registry."""

from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import Field

from metseg.contracts import Champion, ModelCard, ModelPage, ModelVersion, StrictContract
from metseg.errors import InvalidParameter, ModelRejected, NotFound
from metseg.registry import REPORT
from metseg_api.auth import Admin, Reader
from metseg_api.gateway import CurrentGateway
from metseg_api.openapi import CHAMPION, VERSION, example_response, file_responses, problem_responses
from metseg_api.routes.paths import Version

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

router = APIRouter(prefix="/v1/models", tags=["models"])


class Promotion(StrictContract):
    """The version to put into service."""

    version: ModelVersion = Field(examples=[VERSION])


@router.get("", summary="List models", responses=problem_responses())
def models(gateway: CurrentGateway, _: Reader) -> ModelPage:
    """All versions, newest first, and the champion; out-of-distribution references are only in each version's card."""
    cards = [card.model_copy(update={"familiarity": None}) for card in gateway.registry.versions()]
    return ModelPage(models=cards, champion=gateway.registry.champion())


@router.put(
    "/champion",
    summary="Promote or roll back",
    responses={**problem_responses(NotFound, InvalidParameter, ModelRejected), 200: example_response(CHAMPION)},
)
def promote(gateway: CurrentGateway, _: Admin, promotion: Annotated[Promotion, Body()]) -> Champion:
    """Put a version into service, newer or older than the current one; workers switch without a restart."""
    return gateway.registry.promote(promotion.version)


@router.get("/{version}", summary="A model's card", responses=problem_responses(NotFound))
def model(gateway: CurrentGateway, _: Reader, version: Version) -> ModelCard:
    """What the version was trained on, how it was evaluated and what it is for."""
    return gateway.registry.card(version)


@router.get(
    "/{version}/report",
    summary="A model's report",
    response_class=Response,
    responses={**problem_responses(NotFound), **file_responses("text/html")},
)
def report(gateway: CurrentGateway, _: Reader, version: Version) -> Response:
    """The report of its training: curves, results and comparisons, without pictures or names of patients."""
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "private, no-cache"}
    return Response(gateway.registry.file(version, REPORT), headers=headers, media_type="text/html")

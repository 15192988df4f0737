"""The model registry."""

from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import Field

from metseg.contracts import Champion, Contract, ModelCard, ModelPage, ModelVersion
from metseg.errors import InvalidParameter, ModelRejected, NotFound
from metseg_api.auth import Admin, Reader
from metseg_api.gateway import TheGateway
from metseg_api.openapi import CHAMPION, VERSION, example, files, problems
from metseg_api.routes.paths import Version

NOTHING_BUT_ITSELF = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

router = APIRouter(prefix="/v1/models", tags=["models"])


class Promotion(Contract):
    """The version to put into service."""

    version: ModelVersion = Field(examples=[VERSION])


@router.get("", summary="List models", responses=problems())
def models(gateway: TheGateway, _: Reader) -> ModelPage:
    """All versions, newest first, and the one that serves; what tells unlike input is in each version's own card."""
    cards = [card.model_copy(update={"familiarity": None}) for card in gateway.registry.versions()]
    return ModelPage(models=cards, champion=gateway.registry.champion())


@router.put(
    "/champion",
    summary="Promote or roll back",
    responses={**problems(NotFound, InvalidParameter, ModelRejected), 200: example(CHAMPION)},
)
def promote(gateway: TheGateway, _: Admin, promotion: Annotated[Promotion, Body()]) -> Champion:
    """Put a version into service, newer or older than the present one; workers follow without a restart."""
    return gateway.registry.promote(promotion.version)


@router.get("/{version}", summary="A model's card", responses=problems(NotFound))
def model(gateway: TheGateway, _: Reader, version: Version) -> ModelCard:
    """What the version learned from, how it was measured, what it is for."""
    return gateway.registry.card(version)


@router.get(
    "/{version}/report",
    summary="A model's report",
    response_class=Response,
    responses={**problems(NotFound), **files("text/html")},
)
def report(gateway: TheGateway, _: Reader, version: Version) -> Response:
    """The page that its training wrote: curves, figures and comparison, without a picture or a name of a patient."""
    headers = {"Content-Security-Policy": NOTHING_BUT_ITSELF, "Cache-Control": "private, no-cache"}
    return Response(gateway.registry.file(version, "report.html"), headers=headers, media_type="text/html")

"""Liveness, readiness and metrics."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from metseg.errors import NoChampion, QueueUnavailable, StorageFull, StoreUnavailable, Unavailable
from metseg_api import metrics
from metseg_api.admission import check_free_disk
from metseg_api.gateway import CurrentGateway
from metseg_api.openapi import example_response, problem_responses

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Is the process alive?", responses={200: example_response({"status": "alive"})})
async def alive() -> dict[str, str]:
    """Alive, even if the store or the queue is down."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Can it take jobs?",
    responses={
        **problem_responses(StoreUnavailable, QueueUnavailable, StorageFull, NoChampion, needs_key=False),
        200: example_response({"status": "ready"}),
    },
)
def ready(gateway: CurrentGateway) -> dict[str, str]:
    """Ready if queue and store respond and the champion can serve; otherwise the problem says what is missing."""
    missing = [error for check in (gateway.jobs.check, gateway.store.check) if (error := _error(check))]
    if len(missing) > 1:
        raise Unavailable(" ".join(error.detail for error in missing))
    if missing:
        raise missing[0]
    check_free_disk(gateway)
    champion = gateway.registry.champion()
    if champion is None:
        raise NoChampion("No model is in service yet; promote one.")
    if not gateway.registry.is_servable(champion):
        raise NoChampion("The champion's model is damaged; promote another version.")
    return {"status": "ready"}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def exposition(gateway: CurrentGateway) -> Response:
    """Metrics of all processes of this gateway, and of queue, jobs, workers, champion, Redis and store."""
    return Response(metrics.exposition(gateway), media_type=CONTENT_TYPE_LATEST)


def _error(check: Callable[[], None]) -> Unavailable | None:
    try:
        check()
    except Unavailable as error:
        return error
    return None

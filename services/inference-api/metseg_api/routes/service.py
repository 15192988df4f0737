"""Liveness, readiness and metrics."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from metseg.errors import NoChampion, QueueUnavailable, StorageFull, StoreUnavailable, Unavailable
from metseg_api import metrics
from metseg_api.admission import check_disks
from metseg_api.gateway import Gateway, TheGateway
from metseg_api.openapi import example, problems

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Is the process alive?", responses={200: example({"status": "alive"})})
async def alive() -> dict[str, str]:
    """Alive, whatever the store and the queue do."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Can it take jobs?",
    responses={
        **problems(StoreUnavailable, QueueUnavailable, StorageFull, NoChampion, keyed=False),
        200: example({"status": "ready"}),
    },
)
def ready(gateway: TheGateway) -> dict[str, str]:
    """Ready when the queue and the store answer and a model serves; else the problem names what is missing."""
    missing = [error for check in (_queue, _store) if (error := _error(check, gateway))]
    if len(missing) > 1:
        raise Unavailable(" ".join(error.detail for error in missing))
    if missing:
        raise missing[0]
    check_disks(gateway)
    if gateway.registry.champion() is None:
        raise NoChampion("No model is in service yet; promote one.")
    return {"status": "ready"}


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def exposition(gateway: TheGateway) -> Response:
    """Counters of all processes of this gateway, and figures of queue, jobs, workers, model, Redis and store."""
    return Response(metrics.exposition(gateway), media_type=CONTENT_TYPE_LATEST)


def _queue(gateway: Gateway) -> None:
    gateway.jobs.check()


def _store(gateway: Gateway) -> None:
    gateway.store.check()


def _error(check: Callable[[Gateway], None], gateway: Gateway) -> Unavailable | None:
    try:
        check(gateway)
    except Unavailable as error:
        return error
    return None

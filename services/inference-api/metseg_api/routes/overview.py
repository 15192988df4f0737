"""For the page: who is calling, and an overview of the deployment."""

from typing import get_args

from fastapi import APIRouter

from metseg.contracts import KeyInfo, Overview
from metseg_api.auth import Admin, CurrentCaller, Scope
from metseg_api.gateway import CurrentGateway
from metseg_api.openapi import CHAMPION, example_response, problem_responses

KEY_INFO = {"name": "ward-3", "scopes": ["read"]}
OVERVIEW = {"waiting": 2, "oldest_s": 4.5, "working": 1, "workers": 1, "ended": {"succeeded": 40}, "champion": CHAMPION}

router = APIRouter(prefix="/v1", tags=["service"])


@router.get(
    "/me",
    summary="Who is calling?",
    responses={**problem_responses(), 200: example_response(KEY_INFO)},
)
def me(caller: CurrentCaller) -> KeyInfo:
    """The name and the scopes of the request's API key; all scopes if the deployment has no keys."""
    return KeyInfo(name=caller.name, scopes=[scope for scope in get_args(Scope) if scope in caller.scopes])


@router.get(
    "/overview",
    summary="Overview of the deployment",
    responses={**problem_responses(), 200: example_response(OVERVIEW)},
)
def overview(gateway: CurrentGateway, _: Admin) -> Overview:
    """Queue, workers, outcomes of jobs, and the champion; for admins."""
    queue = gateway.jobs.queue_status()
    counters = gateway.jobs.metrics().counters
    return Overview(
        waiting=queue.waiting,
        oldest_s=queue.oldest_s,
        working=queue.working,
        workers=gateway.jobs.worker_count(),
        ended={outcome: int(count) for (name, outcome), count in counters.items() if name == "ended"},
        champion=gateway.registry.champion(),
    )

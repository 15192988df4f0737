"""What the page asks beside jobs: who is asking, and how the deployment does."""

from typing import get_args

from fastapi import APIRouter

from metseg.contracts import Holder, Overview
from metseg_api.auth import Admin, Scope, TheCaller
from metseg_api.gateway import TheGateway
from metseg_api.openapi import CHAMPION, example, problems

GLANCE = {"waiting": 2, "oldest_s": 4.5, "working": 1, "workers": 1, "ended": {"succeeded": 40}, "champion": CHAMPION}

router = APIRouter(prefix="/v1", tags=["service"])


@router.get(
    "/me", summary="Who is asking?", responses={**problems(), 200: example({"name": "ward-3", "scopes": ["read"]})}
)
def me(caller: TheCaller) -> Holder:
    """The name and the scopes of the key that came with the request; all scopes where the gateway is open."""
    return Holder(name=caller.name, scopes=[scope for scope in get_args(Scope) if scope in caller.scopes])


@router.get("/overview", summary="The deployment at a glance", responses={**problems(), 200: example(GLANCE)})
def overview(gateway: TheGateway, _: Admin) -> Overview:
    """Queue, workers, how jobs ended, and the model that serves; for admins."""
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

"""Long polling: a response that is sent when a job ends."""

import time
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import Query, Request, Response

from metseg.contracts import Job
from metseg_api.gateway import Gateway

__all__ = ["Wait", "wait_for_end"]

MAX_WAIT_S = 60
WAIT_STEP_S = 5.0

Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="respond when it ends, or after this many seconds")]


async def wait_for_end(gateway: Gateway, request: Request, response: Response, job_id: str, wait_s: float) -> Job:
    """Wait in steps of a few seconds, so that clients share the threads and one that disconnects frees its own.

    Args:
        gateway: the gateway.
        request: of the client, who may disconnect.
        response: to it; it says when to ask again where the job has not ended.
        job_id: of the job or follow-up.
        wait_s: how long at most.

    Returns:
        The job as it is then.

    Raises:
        NotFound: there is no such job.
    """
    deadline = time.monotonic() + wait_s

    def step() -> Job:
        return gateway.jobs.wait(job_id, min(max(deadline - time.monotonic(), 0), WAIT_STEP_S))

    state = None if wait_s <= 0 else await to_thread.run_sync(gateway.jobs.get_unless_open, job_id)
    while (state is None or not state.status.final) and (left_s := deadline - time.monotonic()) > 0:
        if await request.is_disconnected():
            break
        with anyio.move_on_after(left_s):  # cancels waiting for a thread, not a running step
            state = await to_thread.run_sync(step, limiter=gateway.threads.waits)
    if state is None:
        state = await to_thread.run_sync(gateway.jobs.get, job_id)
    if not state.status.final:
        response.headers["Retry-After"] = "1"
    return state

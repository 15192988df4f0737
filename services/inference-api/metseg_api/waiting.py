"""Long polling: a response that is sent when a job ends."""

import time

import anyio
from anyio import to_thread
from fastapi import Request

from metseg.contracts import Job
from metseg_api.gateway import Gateway

__all__ = ["MAX_WAIT_S", "wait_for_end"]

MAX_WAIT_S = 60
WAIT_STEP_S = 5.0


async def wait_for_end(gateway: Gateway, request: Request, job_id: str, wait_s: float) -> Job:
    """Wait in steps of a few seconds, so that clients share the threads and one that disconnects frees its own.

    Args:
        gateway: the gateway.
        request: of the client, who may disconnect.
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
    return await to_thread.run_sync(gateway.jobs.get, job_id) if state is None else state

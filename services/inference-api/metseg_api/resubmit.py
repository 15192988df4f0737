"""A study that is submitted once more: its files are copied, so that each of the jobs can be deleted for itself."""

import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from metseg.contracts import InputFile, Job, Repetition
from metseg.jobs import new_job_id
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway
from metseg_api.submissions import check_model, kept_only_whole


def again(gateway: Gateway, job_id: str, wish: Repetition, caller: Caller, request_id: str | None = None) -> Job:
    """Submit the study of a job once more; blocks on the store and the queue.

    Raises:
        NotFound: there is no such job.
        InvalidParameter: the wish names no version that there is.
        Unavailable: the store or the queue is away, or no model serves; nothing was kept.
    """
    first = gateway.jobs.request(job_id)
    check_model(gateway, wish.model)
    new = new_job_id(caller.tag)
    inputs = [file.model_copy(update={"key": gateway.jobs.input_key(new, at)}) for at, file in enumerate(first.inputs)]
    changed = {"id": new, "created_at": datetime.now(UTC), "inputs": inputs, "key_sha256": None}
    changed |= {"request_id": request_id, "model": wish.model, "threshold": wish.threshold}
    request = first.model_copy(update=changed)
    with kept_only_whole(gateway, new, None):
        gateway.jobs.deposit(request, _copies(gateway, first.inputs))
        return gateway.jobs.submit(request)


def _copies(gateway: Gateway, files: Iterable[InputFile]) -> Iterator[BinaryIO]:
    """Each file in turn, for as long as the next is not asked for."""
    for file in files:
        with tempfile.TemporaryFile() as local, gateway.store.stream(file.key) as chunks:
            for chunk in chunks:
                local.write(chunk)
            yield local

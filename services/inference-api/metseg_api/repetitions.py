"""A study that is submitted once more: its files are copied, so that each of the jobs can be deleted for itself."""

import tempfile
from datetime import UTC, datetime

from metseg.contracts import InputFile, Job, Repetition
from metseg.owners import new_id
from metseg_api.access import Caller
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
    new = new_id(caller.tag)
    inputs = [file.model_copy(update={"key": gateway.jobs.input_key(new, at)}) for at, file in enumerate(first.inputs)]
    changed = {"id": new, "created_at": datetime.now(UTC), "inputs": inputs, "key_sha256": None}
    changed |= {"request_id": request_id, "model": wish.model, "threshold": wish.threshold}
    with kept_only_whole(gateway, new, None):
        for source, target in zip(first.inputs, inputs, strict=True):
            _copy(gateway, source.key, target)
        return gateway.jobs.submit(first.model_copy(update=changed))


def _copy(gateway: Gateway, key: str, target: InputFile) -> None:
    with tempfile.TemporaryFile() as local:
        with gateway.store.stream(key) as chunks:
            for chunk in chunks:
                local.write(chunk)
        local.seek(0)
        gateway.store.put(target.key, local, size=target.size_bytes)

"""Resubmission of a job's study: its files are copied, so that either job can be deleted without the other."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

from metseg.contracts import InputFile, Job, Resubmission, Role
from metseg.jobs import new_job_id
from metseg_api.admission import check_share
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway
from metseg_api.submissions import check_model_exists, discard_on_failure


def resubmit(
    gateway: Gateway, job_id: str, options: Resubmission, caller: Caller, request_id: str | None = None
) -> Job:
    """Submit the study of a job once more. Blocks on the store and the queue.

    Args:
        gateway: the gateway.
        job_id: of the earlier job.
        options: of the new one.
        caller: who submits.
        request_id: of the HTTP request, for logs.

    Returns:
        The new job.

    Raises:
        NotFound: there is no such job.
        TooManyRequests: the caller's open jobs leave no room for it.
        InvalidParameter: `options` name a model version that does not exist.
        Unavailable: the store or the queue is down, or there is no champion; nothing was stored.
    """
    earlier = gateway.jobs.request(job_id)
    check_model_exists(gateway, options.model)
    check_share(gateway, caller, earlier.slices)
    new = new_job_id(caller.tag)
    inputs = [
        file.model_copy(update={"key": gateway.jobs.input_key(new, index)}) for index, file in enumerate(earlier.inputs)
    ]
    changes = {"id": new, "created_at": datetime.now(UTC), "inputs": inputs, "key_sha256": None}
    changes |= {"request_id": request_id, "model": options.model, "threshold": options.threshold}
    changes["exchanged"] = _composed(earlier.exchanged, options.exchanged)
    if options.sequence is not None:
        changes |= {"sequence": options.sequence, "inputs": _without_single_role(inputs)}
    request = earlier.model_copy(update=changes)
    with discard_on_failure(gateway, new, None):
        gateway.jobs.deposit(request, _copies(gateway, earlier.inputs))
        return gateway.jobs.submit(request)


def _composed(earlier: Mapping[Role, Role], later: Mapping[Role, Role]) -> dict[Role, Role]:
    """One exchange after the other; the later one names the sequences as the earlier one left them."""
    first = {taken_for: later.get(role, role) for taken_for, role in earlier.items()}
    return first | {role: other for role, other in later.items() if role not in {*earlier, *earlier.values()}}


def _without_single_role(inputs: list[InputFile]) -> list[InputFile]:
    """The inputs without their role, which the option `sequence` overrules, if all have the same one."""
    one_sequence = len({file.role for file in inputs}) == 1
    return [file.model_copy(update={"role": None}) for file in inputs] if one_sequence else inputs


def _copies(gateway: Gateway, files: Iterable[InputFile]) -> Iterator[BinaryIO]:
    """A temporary copy of each file in turn; it is deleted when the next one is requested."""
    for file in files:
        with tempfile.TemporaryFile() as copy, gateway.store.stream(file.key) as chunks:
            for chunk in chunks:
                copy.write(chunk)
            yield copy

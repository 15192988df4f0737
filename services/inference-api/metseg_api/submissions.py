"""From an upload on disk to a job in the queue: check, store and queue it, and delete everything if a step fails."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime

from metseg import formats
from metseg.contracts import InputFile, Job, Request, Role
from metseg.errors import EmptyUpload, InvalidParameter, NoChampion, NotFound, Unavailable
from metseg.imaging import ROLES, check_fits
from metseg.jobs import hash_key, new_job_id
from metseg.parallel import in_background
from metseg.settings import Limits
from metseg_api.admission import admit, check_share
from metseg_api.auth import Caller
from metseg_api.gateway import Gateway
from metseg_api.multipart import MultipartForm, Part
from metseg_api.submission_fields import Options, parse_options

Fingerprint = tuple[Role | None, str, str]
"""Role, name and SHA-256 of a file as it was uploaded."""
IDEMPOTENCY_KEY = r"[\x21-\x7e]{1,255}"


def is_replay(gateway: Gateway, caller: Caller, idempotency_key: str | None) -> bool:
    """Whether a submission with this key was accepted before, so that it needs no admission: it makes no new job.

    Args:
        gateway: the gateway.
        caller: who submits.
        idempotency_key: None: the submission is always a new job.

    Returns:
        False also where the key is not in use.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    key = _hash_key(caller, idempotency_key)
    return key is not None and gateway.jobs.key_holder(key) is not None


def submit(
    gateway: Gateway,
    form: MultipartForm,
    caller: Caller,
    idempotency_key: str | None,
    request_id: str | None = None,
    *,
    admitted: bool = True,
) -> Job:
    """Submit a study: when this returns, its files are in the store and its job is queued.

    Blocks on the disk, the store and the queue.

    Args:
        gateway: the gateway.
        form: the received submission.
        caller: who submits.
        idempotency_key: None: the submission is always a new job.
        request_id: of the HTTP request, for logs.
        admitted: False: admission was left out for a replay, and is made up for if this is a new job after all. True:
            no job held the key before the upload; one that was accepted meanwhile is noticed when this one is queued.

    Returns:
        The new job, or the earlier one with this idempotency key of this caller.

    Raises:
        BadInput: the files or a field have to change.
        IdempotencyConflict: the key was used with other files or fields.
        Unavailable: the store or the queue is down, or there is no champion; nothing was stored.
    """
    uploads, options = _parse(form)
    key, uploaded = _hash_key(caller, idempotency_key), [_fingerprint(upload) for upload in uploads]
    digest = _digest(options, uploaded)
    if key is not None and not admitted:
        if holder := gateway.jobs.key_holder(key, digest):
            return gateway.jobs.get(holder)
        admit(gateway, caller, 0)
    study = formats.inspect_upload(uploads, gateway.settings.limits, options.sequence)
    _check_memory(gateway, study, options)
    check_share(gateway, caller, study.slices)
    job_id = new_job_id(caller.tag)
    with ExitStack() as stack:
        check = stack.enter_context(in_background(lambda _: check_model_exists(gateway, options.model)))
        stored = uploaded
        if options.deidentify:
            uploads = stack.enter_context(_deidentified(uploads, gateway.settings.limits))
            stored = [_fingerprint(upload) for upload in uploads]
        inputs = [
            _describe(gateway.jobs.input_key(job_id, index), upload, fingerprint)
            for index, (upload, fingerprint) in enumerate(zip(uploads, stored, strict=True))
        ]
        stack.enter_context(discard_on_failure(gateway, job_id, key))
        now = datetime.now(UTC)
        identity = {"id": job_id, "created_at": now, "request_id": request_id}
        options = _with_subject(gateway, options, study.subject)
        request = Request(**identity, inputs=inputs, slices=study.slices, **options._asdict())
        gateway.jobs.deposit(request, [upload.stream for upload in uploads])
        check()
        return enqueue(gateway, request.model_copy(update={"key_sha256": key}), digest)


def _with_subject(gateway: Gateway, options: Options, subject: formats.Subject) -> Options:
    """The options, with the patient and the day that DICOM headers name where the submitter named none.

    The patient is a pseudonym that this site alone can make. `deidentify` promises that no identity is used.
    """
    if options.deidentify:
        return options
    patient = options.patient
    if patient is None and subject.patient_id:
        patient = f"dicom-{gateway.jobs.patients.pseudonym(subject.patient_id)}"
    return options._replace(patient=patient, taken_on=options.taken_on or subject.taken_on)


def _check_memory(gateway: Gateway, study: formats.Inspection, options: Options) -> None:
    """Refuse a study that the smallest worker could not segment; StudyTooLarge. Without a worker, all are accepted."""
    memory_bytes = gateway.jobs.worker_memory_bytes()
    if memory_bytes is not None:
        check_fits(study.size, memory_bytes, uncertainty=options.uncertainty)


def _deidentified(uploads: list[formats.Upload], limits: Limits) -> AbstractContextManager[list[formats.Upload]]:
    """What is stored instead of a DICOM upload with `deidentify`; BadInput if it cannot be de-identified."""
    from metseg.formats import dicom

    return dicom.deidentify_uploads(uploads, limits)


def _hash_key(caller: Caller, idempotency_key: str | None) -> str | None:
    """The name of a caller's idempotency key in the store."""
    return None if idempotency_key is None else hash_key(f"{caller.tag} {idempotency_key}")


def enqueue(gateway: Gateway, request: Request, digest: str) -> Job:
    """Accept what has been deposited, unless its Idempotency-Key is held.

    Args:
        gateway: the gateway.
        request: as deposited.
        digest: of what was submitted.

    Returns:
        The new job, or the one that holds the key.

    Raises:
        IdempotencyConflict: the key was used with another submission.
        Unavailable: the store or the queue is down; nothing of it is left.
    """
    if request.key_sha256 is None:
        return gateway.jobs.submit(request)
    holder = gateway.jobs.acquire_key(request.key_sha256, digest, request.id)
    if holder == request.id:
        return gateway.jobs.submit(request)
    gateway.jobs.discard(request.id)
    return gateway.jobs.get(holder)


@contextmanager
def discard_on_failure(gateway: Gateway, job_id: str, key_sha256: str | None) -> Iterator[None]:
    """Delete a job's inputs if the block fails; if the store is down, maintenance deletes them later.

    Args:
        gateway: the gateway.
        job_id: of the new job.
        key_sha256: of the idempotency key, which is released too.

    Yields:
        Nothing.
    """
    accepted = False
    try:
        yield
        accepted = True
    finally:
        if not accepted:
            with suppress(Unavailable):
                gateway.jobs.discard(job_id, key_sha256)


def check_idempotency_key(key: str | None) -> None:
    """Refuse an Idempotency-Key that is not a short word of printable ASCII.

    Raises:
        InvalidParameter: it is empty, too long or has other characters.
    """
    if key is not None and not re.fullmatch(IDEMPOTENCY_KEY, key):
        raise InvalidParameter("Idempotency-Key must be 1 to 255 printable ASCII characters without spaces.")


def _parse(form: MultipartForm) -> tuple[list[formats.Upload], Options]:
    files = [part for part in form.parts if part.filename is not None]
    fields = [part for part in form.parts if part.filename is None]
    if not files:
        raise EmptyUpload("Send at least one file, in the file field `files`, `pre`, `flair` or `post`.")
    if not {part.name for part in files} <= {"files", *ROLES}:
        raise InvalidParameter("Files belong in the file fields `files`, `pre`, `flair` or `post`.")
    return [_upload(form, part) for part in files], parse_options(fields)


def _upload(form: MultipartForm, part: Part) -> formats.Upload:
    role = next((role for role in ROLES if role == part.name), None)
    return formats.Upload(formats.base_name(part.filename or ""), form.open(part), role)


def check_model_exists(gateway: Gateway, version: str | None) -> None:
    """Check that there is a model to segment with.

    Args:
        gateway: whose registry has the models.
        version: None: the champion.

    Raises:
        InvalidParameter: there is no such version.
        NoChampion: no version is named, and there is no champion.
    """
    if version is None and gateway.registry.champion() is None:
        raise NoChampion("No model is in service yet; promote one or name one in the field `model`.")
    if version is not None:
        try:
            gateway.registry.card(version)
        except NotFound as error:
            raise InvalidParameter("`model` must be a version that /v1/models lists.") from error


def _describe(key: str, upload: formats.Upload, fingerprint: Fingerprint) -> InputFile:
    role, name, sha256 = fingerprint
    return InputFile(key=key, name=name, size_bytes=upload.stream.seek(0, os.SEEK_END), sha256=sha256, role=role)


def _fingerprint(upload: formats.Upload) -> Fingerprint:
    upload.stream.seek(0)
    sha256 = hashlib.file_digest(upload.stream, "sha256").hexdigest()  # type: ignore[arg-type]
    return upload.role, upload.name, sha256


def _digest(options: Options, uploaded: list[Fingerprint]) -> str:
    """What identifies equal submissions: the files as uploaded and the fields."""
    return hashlib.sha256(json.dumps([uploaded, *options], default=str).encode()).hexdigest()

"""Studies for tests of worker and gateway: phantoms as files, put directly into a deployment's store and queue."""

import hashlib
import io
from datetime import UTC, datetime

from metseg.contracts import InputFile, Job, Request
from metseg.imaging import encode_png
from metseg.jobs import JobService, new_job_id
from metseg.phantom import head
from metseg.storage import ObjectStore


def phantom_files(slices: int, seed: int = 7, size_px: int = 128) -> dict[str, bytes]:
    """A head with metastases as PNG slices by name."""
    pixels = head(seed, slices=slices, size_px=size_px).volume.pixels
    return {f"DOE-JOHN_{index}.png": encode_png(pixels[index]) for index in range(slices)}


def submit(store: ObjectStore, jobs: JobService, files: dict[str, bytes], model: str | None = None) -> Job:
    """Submit `files` as the gateway does."""
    job_id = new_job_id()
    inputs = []
    for index, (name, content) in enumerate(files.items()):
        digest = hashlib.sha256(content).hexdigest()
        key = jobs.input_key(job_id, index)
        inputs.append(InputFile(key=key, name=name, size_bytes=len(content), sha256=digest))
    request = Request(id=job_id, created_at=datetime.now(UTC), inputs=inputs, model=model)
    jobs.deposit(request, map(io.BytesIO, files.values()))
    return jobs.submit(request)

"""The worker's own code from the uploaded bytes to the artefacts, in this process, without any service."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.bare import STARTER

from metseg.cli.local import registry
from metseg.contracts import InputFile, Request
from metseg.models import Models
from metseg.objects import DirectoryStore
from metseg.owners import new_id
from metseg.predictor import cpu_quota
from metseg.process import process
from metseg.settings import Limits

__all__ = ["Whole"]


class Whole:
    """Segments with the served model and a thread for each CPU.

    Args:
        folder: in which uploads are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._store = DirectoryStore(folder)
        self._models = Models(registry(STARTER), cpu_quota())
        self._models.champion()  # loaded

    def upload(self, files: Sequence[tuple[str, bytes]]) -> Request:
        """A study as the gateway would have accepted it."""
        job_id, inputs = new_id(), []
        for index, (name, content) in enumerate(files):
            key = f"jobs/{job_id}/input/{index:04d}"
            self._store.put(key, content)
            digest = hashlib.sha256(content).hexdigest()
            inputs.append(InputFile(key=key, name=name, size_bytes=len(content), sha256=digest))
        return Request(id=job_id, created_at=datetime.now(UTC), inputs=inputs)

    def __call__(self, request: Request) -> dict[str, float]:
        """Segment, draw and pack a study; the seconds of each phase."""
        result, _ = process(request, self._store, self._models, Limits(files=2000), lambda done, total: None)
        return dict(result.durations_s)

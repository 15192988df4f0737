"""The worker's own code from the uploaded bytes to the artefacts, in this process, without any service.

    python -m tests.bench.whole STUDY FOLDER

is the counterpart of the bare loop that produces everything stored of a study; the folder is its store.
"""

import hashlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.bare import STARTER, on_demand

from metseg.cli.local import open_registry
from metseg.contracts import InputFile, Request
from metseg.inference import ModelCache
from metseg.jobs import JobInputs, new_job_id, process
from metseg.parallel import cpu_quota
from metseg.settings import Limits
from metseg.storage import LocalFolderStore

__all__ = ["Whole"]


class Whole:
    """Segments with the served model and a thread for each CPU.

    Args:
        folder: for uploads.
    """

    def __init__(self, folder: Path) -> None:
        self._store = LocalFolderStore(folder)
        self._store.prepare(job_days=1)
        self._models = ModelCache(open_registry(STARTER), cpu_quota())
        self._models.champion()  # warms up

    def upload(self, files: Sequence[tuple[str, bytes]]) -> Request:
        """A study as if the gateway had accepted it."""
        job_id, inputs = new_job_id(), []
        for index, (name, content) in enumerate(files):
            key = f"jobs/{job_id}/input/{index:04d}"
            self._store.put(key, content)
            digest = hashlib.sha256(content).hexdigest()
            inputs.append(InputFile(key=key, name=name, size_bytes=len(content), sha256=digest))
        return Request(id=job_id, created_at=datetime.now(UTC), inputs=inputs)

    def __call__(self, request: Request) -> dict[str, float]:
        """Segment, render and pack a study; returns the seconds of each phase."""
        with JobInputs.fetch(request, self._store, self._models) as inputs:
            result, _ = process(request, inputs, Limits(files=2000), lambda done, total: None)
        return dict(result.durations_s)


def main() -> None:
    """See the module."""
    file, folder = map(Path, sys.argv[1:])
    folder.mkdir()
    whole = Whole(folder)
    request = whole.upload([(file.name, file.read_bytes())])
    on_demand(lambda: whole(request))


if __name__ == "__main__":
    main()

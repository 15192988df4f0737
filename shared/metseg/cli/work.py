"""One study, from its files to its results in a folder; whatever is done already is not done again."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metseg.atomic_io import SCRATCH, atomic_write
from metseg.cli.engine import Engine, Finished, Tell
from metseg.cli.exits import Exit
from metseg.cli.record import Record
from metseg.client import digest, opened
from metseg.contracts import Align, Problem, Result
from metseg.errors import MetsegError
from metseg.results.exports import Export

__all__ = ["Asked", "Done", "segment"]

RESULT = "result.json"


class Asked(NamedTuple):
    """How to segment, and what to keep; `leave_out` names files that are none of the study's."""

    threshold: float | None
    model: str | None
    server: str | None
    exports: Sequence[Export]
    leave_out: str | None = None
    deidentify: bool = False
    align: Align = "rigid"
    uncertainty: bool = False


class Done(NamedTuple):
    """A study that has its results, and whether it had them before."""

    result: Result
    before: bool


def segment(path: Path, folder: Path, asked: Asked, engine: Engine, tell: Tell) -> Done:
    """Bring a study's results into its folder.

    Each file is written whole or not at all, `result.json` after the others, and the record, `job.json`, says
    `done` last. So a run that is killed at any moment leaves nothing that the next one could take for finished.

    Args:
        path: of the study.
        folder: for its results.
        asked: how.
        engine: that segments it.
        tell: of progress, the share that is done.

    Raises:
        MetsegError: it cannot be segmented; the record says so too.
    """
    with opened(path, asked.leave_out) as attachments:
        record = Record(
            study_sha256=digest(attachments),
            threshold=asked.threshold,
            model=asked.model,
            server=asked.server,
            deidentify=asked.deidentify,
            align=asked.align,
            uncertainty=asked.uncertainty,
        )
        earlier = Record.read(folder)
        if earlier is not None and earlier.same_as(record):
            record = earlier
        files = [*(export.file_name for export in asked.exports), RESULT]
        if record.complete(folder, files):
            return Done(Result.model_validate_json((folder / RESULT).read_bytes()), before=True)
        try:
            finished = engine.run(attachments, record, lambda: record.write(folder), tell)
            _write(folder, asked.exports, finished)
        except MetsegError as error:
            if not Exit.of(error).ends_all:  # an outage says nothing of the study
                record.state, record.problem = "failed", Problem.of(error)
                record.write(folder)
            raise
    record.state, record.files, record.problem = "done", files, None
    record.write(folder)
    return Done(finished.result, before=False)


def _write(folder: Path, exports: Sequence[Export], finished: Finished) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scratch in folder.glob(f"{SCRATCH}*"):  # of a run that was killed
        scratch.unlink(missing_ok=True)
    for export in exports:
        finished.save(export, folder / export.file_name)
    with atomic_write(folder / RESULT) as file:
        file.write(finished.result.model_dump_json(indent=2).encode())

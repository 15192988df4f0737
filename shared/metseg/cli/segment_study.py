"""One study, from its files to a folder of results; what an earlier run finished is not repeated."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from metseg.atomic_io import atomic_write_bytes, remove_leftovers
from metseg.cli.backend import Backend, OnProgress, Segmented
from metseg.cli.exit_codes import ExitCode
from metseg.cli.run_state import RunState
from metseg.client import open_study, study_digest
from metseg.contracts import Align, Problem, Result, SequenceChoice
from metseg.errors import MetsegError
from metseg.results.exports import Export

__all__ = ["SegmentOptions", "StudyOutcome", "segment_study"]

RESULT = "result.json"


class SegmentOptions(NamedTuple):
    """How to segment, and what to save; a file named `ignored_name` does not belong to the study."""

    threshold: float | None
    model: str | None
    server: str | None
    exports: Sequence[Export]
    ignored_name: str | None = None
    deidentify: bool = False
    sequence: SequenceChoice = "auto"
    align: Align = "rigid"
    uncertainty: bool = False
    patient: str | None = None
    taken_on: date | None = None


class StudyOutcome(NamedTuple):
    """The result of a study, and whether an earlier run had finished it already."""

    result: Result
    done_before: bool


def segment_study(
    path: Path, folder: Path, options: SegmentOptions, backend: Backend, on_progress: OnProgress
) -> StudyOutcome:
    """Segment a study and write its results.

    Each file is written atomically, `result.json` after the others, and the state in `job.json` becomes `done` last.
    So a run that is killed at any moment leaves nothing that the next run could mistake for finished.

    Args:
        path: of the study.
        folder: for its results.
        options: how to segment, and what to save.
        backend: segments it.
        on_progress: called with the share that is done.

    Returns:
        The result.

    Raises:
        MetsegError: the study cannot be segmented; `job.json` has the problem too.
    """
    with open_study(path, options.ignored_name) as attachments:
        state = RunState(
            study_sha256=study_digest(attachments),
            threshold=options.threshold,
            model=options.model,
            server=options.server,
            deidentify=options.deidentify,
            sequence=options.sequence,
            align=options.align,
            uncertainty=options.uncertainty,
            patient=options.patient,
            taken_on=options.taken_on,
        )
        earlier = RunState.read(folder)
        if earlier is not None and earlier.is_same_request(state):
            state = earlier
        files = [*(export.file_name for export in options.exports), RESULT]
        if state.is_complete(folder, files) and (finished := _read_result(folder)) is not None:
            return StudyOutcome(finished, done_before=True)
        try:
            segmented = backend.segment(attachments, state, lambda: state.write(folder), on_progress)
            _write(folder, options.exports, segmented)
        except MetsegError as error:
            if not ExitCode.of(error).is_fatal:  # an outage is not the study's fault
                state.state, state.problem = "failed", Problem.of(error)
                state.write(folder)
            raise
    state.state, state.files, state.problem = "done", files, None
    state.write(folder)
    return StudyOutcome(segmented.result, done_before=False)


def _read_result(folder: Path) -> Result | None:
    """The result that an earlier run wrote; None if this release cannot read it."""
    try:
        return Result.model_validate_json((folder / RESULT).read_bytes())
    except ValidationError:
        return None


def _write(folder: Path, exports: Sequence[Export], segmented: Segmented) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for export in exports:
        segmented.save(export, folder / export.file_name)
    atomic_write_bytes(folder / RESULT, segmented.result.model_dump_json(indent=2).encode())

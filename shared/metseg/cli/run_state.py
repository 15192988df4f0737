"""The state of a study's run, stored next to its results, so that a run that was killed can be resumed."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from metseg.atomic_io import atomic_write_bytes
from metseg.contracts import Align, Problem, SequenceChoice

__all__ = ["RunState"]

FILE_NAME = "job.json"


class RunState(BaseModel):
    """A study's run. `state` becomes `done` when all files of the result have been written."""

    model_config = ConfigDict(extra="ignore")

    study_sha256: str
    threshold: float | None = None
    model: str | None = None
    server: str | None = None
    deidentify: bool = False
    sequence: SequenceChoice = "auto"
    align: Align = "rigid"
    uncertainty: bool = False
    patient: str | None = None
    taken_on: date | None = None
    attempt: int = 1
    job_id: str | None = None
    state: Literal["begun", "done", "failed"] = "begun"
    files: list[str] = []
    problem: Problem | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The state in a study's folder; None if there is none or it cannot be read."""
        try:
            return cls.model_validate_json((folder / FILE_NAME).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, folder: Path) -> None:
        """Write the state atomically, before anything that depends on it happens."""
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(folder / FILE_NAME, self.model_dump_json(indent=2, exclude_none=True).encode())

    def is_same_request(self, other: "RunState") -> bool:
        """Whether both are of the same study, segmented with the same options by the same server."""
        return self._request() == other._request()

    @property
    def idempotency_key(self) -> str:
        """Equal for equal requests, and different for each attempt."""
        return hashlib.sha256(json.dumps([*self._request(), self.attempt]).encode()).hexdigest()

    def _request(self) -> tuple[str | float | bool | None, ...]:
        """What identifies equal submissions."""
        study = (self.study_sha256, self.threshold, self.model, self.server)
        follow_up = (self.patient, None if self.taken_on is None else self.taken_on.isoformat())
        return (*study, self.sequence, self.deidentify, self.align, self.uncertainty, *follow_up)

    def is_complete(self, folder: Path, files: list[str]) -> bool:
        """Whether this run has written all files.

        Args:
            folder: of the study's results.
            files: names of files in it.

        Returns:
            True if all exist and belong to this run.
        """
        return (
            self.state == "done" and set(files) <= set(self.files) and all((folder / name).is_file() for name in files)
        )

"""What is remembered of a study beside its results, so that a run that was killed goes on where it was."""

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from metseg.atomic_io import atomic_write
from metseg.contracts import Align, Problem

__all__ = ["Record"]

NAME = "job.json"


class Record(BaseModel):
    """The job of a study. `state` is `done` once every file of the result is there."""

    model_config = ConfigDict(extra="ignore")

    study_sha256: str
    threshold: float | None = None
    model: str | None = None
    server: str | None = None
    deidentify: bool = False
    align: Align = "rigid"
    uncertainty: bool = False
    attempt: int = 1
    job_id: str | None = None
    state: Literal["begun", "done", "failed"] = "begun"
    files: list[str] = []
    problem: Problem | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The record in a study's folder; None where there is none, or one that no one can read."""
        try:
            return cls.model_validate_json((folder / NAME).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, folder: Path) -> None:
        """Keep it, whole, before anything that depends on it happens."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / NAME) as file:
            file.write(self.model_dump_json(indent=2, exclude_none=True).encode())

    def same_as(self, other: "Record") -> bool:
        """Whether both are of the same study, segmented in the same way by the same server."""
        return self._asked() == other._asked()

    @property
    def key(self) -> str:
        """The Idempotency-Key: the same whenever the same is asked for, another for each attempt."""
        return hashlib.sha256(json.dumps([*self._asked(), self.attempt]).encode()).hexdigest()

    def _asked(self) -> tuple[str | float | bool | None, ...]:
        """What makes two submissions the same; wishes that an earlier version did not know leave its keys alone."""
        wishes: dict[bool | str, bool] = {
            True: self.deidentify,
            f"align {self.align}": self.align != "rigid",
            "uncertainty": self.uncertainty,
        }
        wished = [wish for wish, there in wishes.items() if there]
        return (self.study_sha256, self.threshold, self.model, self.server, *wished)

    def complete(self, folder: Path, files: list[str]) -> bool:
        """Whether all these files are there and of this record."""
        return (
            self.state == "done" and set(files) <= set(self.files) and all((folder / name).is_file() for name in files)
        )

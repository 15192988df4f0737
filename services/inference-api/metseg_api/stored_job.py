"""A finished job as its artefacts lie in the store, for the exports."""

import io
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from typing import BinaryIO, NamedTuple, cast

from metseg.contracts import ModelCard, Result
from metseg.errors import ModelRejected, NotFound
from metseg.formats import StoredSlices
from metseg.jobs import Results
from metseg.results import SLICE_ARCHIVE, SliceArchive
from metseg.results.exports import FinishedJob
from metseg.storage import ObjectPart, RangedFile
from metseg_api.gateway import Gateway

__all__ = ["JobView", "StoredJob"]

READ_AHEAD_BYTES = 2**18
"""Of a job's slices, fetched at a time: one or two slices."""
ARTEFACT_READ_AHEAD_BYTES = 2**20
HEADER_READ_AHEAD_BYTES = 2**12


class JobView(NamedTuple):
    """A job as it is asked for.

    Attributes:
        job_id: of the job.
        reviewed: whether with the review in force, or as the model answered.
    """

    job_id: str
    reviewed: bool = True

    @property
    def own(self) -> "JobView":
        """The model's own answer, for what no review changes."""
        return self._replace(reviewed=False)


class StoredJob(FinishedJob):
    """A finished job in the store.

    Args:
        gateway: whose store has it.
        view: which job, and whether as reviewed. The state at the first access stays, whatever is reviewed meanwhile.
        read_ahead_bytes: of its slices, fetched at a time.
    """

    def __init__(self, gateway: Gateway, view: JobView, read_ahead_bytes: int = READ_AHEAD_BYTES) -> None:
        self._gateway = gateway
        self._view = view
        self._read_ahead_bytes = read_ahead_bytes

    @property
    def job_id(self) -> str:
        """Of the job."""
        return self._view.job_id

    @cached_property
    def results(self) -> Results:
        """Where its artefacts are; NotFound, NotFinished."""
        return self._gateway.jobs.results(self.job_id, reviewed=self._view.reviewed)

    def stat(self, name: str) -> tuple[ObjectPart, str]:
        """Where in the store an artefact is, and its entity tag; NotFound."""
        return self._gateway.jobs.stat(self.results, name)

    @cached_property
    def _result(self) -> Result:
        return self._gateway.jobs.read_result(self.results)

    def result(self) -> Result:
        """See FinishedJob."""
        return self._result

    def model_card(self) -> ModelCard | None:
        """See FinishedJob."""
        try:
            return self._gateway.registry.card(self._result.model_version)
        except (NotFound, ModelRejected):  # a version may be deleted while its results stay
            return None

    def finished_at(self) -> datetime | None:
        """See FinishedJob."""
        return self._gateway.jobs.get(self.job_id).finished_at

    def open_artefact(self, name: str) -> AbstractContextManager[BinaryIO]:
        """See FinishedJob."""
        return self._open(name, ARTEFACT_READ_AHEAD_BYTES)

    def shape(self, name: str) -> tuple[int, int, int]:
        """Slices, rows and columns of a mask or map, from its header.

        Args:
            name: of the artefact.

        Raises:
            NotFound: there is no such artefact.
            ProcessingFailed: it is damaged.
        """
        with self._open(name, HEADER_READ_AHEAD_BYTES) as stored:
            return StoredSlices(stored).shape

    def slice_png(self, index: int) -> bytes:
        """See FinishedJob."""
        return self._slices.read_slice(index)

    @cached_property
    def _slices(self) -> SliceArchive:
        return SliceArchive(self._open(SLICE_ARCHIVE, self._read_ahead_bytes))

    def _open(self, name: str, read_ahead_bytes: int) -> BinaryIO:
        part, _ = self.stat(name)
        return cast(BinaryIO, io.BufferedReader(RangedFile(self._gateway.store, part, read_ahead_bytes)))

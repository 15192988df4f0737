"""The result and the artefacts of an attempt or of a review: one object in the store, one after the other.

A store charges for each object, whatever its size. The record of the attempt (`end.json`) or of the review says where
in the object each artefact is. Before December 2026 they were a folder with an object for each; such jobs can still be
read.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import BinaryIO, NamedTuple, Self, cast

from pydantic import Field
from typing_extensions import Buffer

from metseg.contracts import Contract, ResultSummary
from metseg.errors import ProcessingFailed
from metseg.results import SLICE_ARCHIVE
from metseg.results.exports import PROBABILITY, SOURCE_HEADERS, UNCERTAINTY, WHOLE_PROBABILITY
from metseg.storage import ObjectPart, ObjectStore

__all__ = ["RESULT", "Artefact", "ArtefactSet", "Results", "put_artefacts", "read_artefact"]

RESULT = "result.json"
UNREVIEWED = frozenset({PROBABILITY, WHOLE_PROBABILITY, UNCERTAINTY, SLICE_ARCHIVE, SOURCE_HEADERS})
"""Artefacts that no review changes."""


class Artefact(Contract):
    """What an artefact must be, byte for byte, and where it begins."""

    size: int = Field(ge=0)
    sha256: str
    first: int | None = Field(
        default=None, ge=0, description="offset in the object of all artefacts; None: it is an object of its own"
    )

    @classmethod
    def of(cls, content: bytes, first: int | None = None) -> Self:
        """The record of an artefact.

        Args:
            content: of the artefact.
            first: its offset in the object of all artefacts.

        Returns:
            The record.
        """
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest(), first=first)


class ArtefactSet(NamedTuple):
    """The artefacts that one attempt, or one review, wrote.

    Attributes:
        key: of their object in the store, or of their folder.
        artefacts: by name.
    """

    key: str
    artefacts: Mapping[str, Artefact]

    def part(self, name: str) -> ObjectPart:
        """Where in the store an artefact is; there may be none of this name."""
        artefact = self.artefacts.get(name)
        if artefact is None or artefact.first is None:
            return ObjectPart(f"{self.key}/{name}")
        return ObjectPart(self.key, artefact.first, artefact.size)


class Results(NamedTuple):
    """The results of a job that succeeded.

    Attributes:
        own: the model's own artefacts.
        review: the number of the review that they show; 0 if they are the model's own.
        reviewed: the artefacts that the review replaces; None if there is none.
        summary: of the result; None for a follow-up.
    """

    own: ArtefactSet
    review: int = 0
    reviewed: ArtefactSet | None = None
    summary: ResultSummary | None = None

    def part(self, name: str) -> ObjectPart:
        """Where in the store an artefact is; there may be none of this name."""
        return self._set(name).part(name)

    def artefact(self, name: str) -> Artefact | None:
        """What an artefact must be; None where that was not recorded."""
        return self._set(name).artefacts.get(name)

    def _set(self, name: str) -> ArtefactSet:
        """Whose artefact is shown; what depends on the masks is never the model's in a reviewed state."""
        return self.own if self.reviewed is None or name in UNREVIEWED else self.reviewed


def put_artefacts(
    objects: ObjectStore, key: str, result: Contract, artefacts: Mapping[str, bytes]
) -> dict[str, Artefact]:
    """Write the result and the artefacts of an attempt or a review.

    Args:
        objects: the object store.
        key: of their object.
        result: of the attempt.
        artefacts: by name.

    Returns:
        What was written, by name.
    """
    contents = {RESULT: result.model_dump_json().encode(), **artefacts}
    written, size = dict[str, Artefact](), 0
    for name, content in contents.items():
        written[name] = Artefact.of(content, size)
        size += len(content)
    objects.put(key, cast(BinaryIO, _Joined(contents.values())), size=size)
    return written


def read_artefact(objects: ObjectStore, results: Results, name: str) -> bytes:
    """An artefact, whole.

    Args:
        objects: the object store.
        results: that it belongs to.
        name: of the artefact.

    Returns:
        Its content.

    Raises:
        NotFound: there is no such artefact.
        ProcessingFailed: it is not what was written.
    """
    content, artefact = objects.get(*results.part(name)), results.artefact(name)
    if artefact is not None and artefact != Artefact.of(content, artefact.first):
        raise ProcessingFailed.damaged_result()
    return content


class _Joined(io.RawIOBase):
    """Several contents as one stream, without a copy of them all."""

    def __init__(self, contents: Iterable[bytes]) -> None:
        self._contents = iter(contents)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """The next bytes; 0 at the end."""
        while not self._left:
            content = next(self._contents, None)
            if content is None:
                return 0
            self._left = memoryview(content)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._left))
        view[:count], self._left = self._left[:count], self._left[count:]
        return count

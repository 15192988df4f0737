"""What a job needs before it can be worked on, its inputs and its model, each on its way beside other work.

with Supplies(store, models) as supplies:
    supplies.fetch(request)
    volume = formats.read(supplies.files(), limits)
    predictor, warnings = supplies.predictor()
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import takewhile
from typing import BinaryIO, Self, cast

from metseg import formats
from metseg.contracts import InputFile, Request
from metseg.errors import ProcessingFailed
from metseg.inference import ModelCache, OnnxPredictor
from metseg.parallel import in_background
from metseg.storage import ObjectStore

__all__ = ["Supplies"]

IN_MEMORY_BYTES = 2**20
"""Larger files are read from disk; smaller ones are many, and would use up the file descriptors."""


class Supplies:
    """The supplies of one job, for the length of a block.

    Args:
        store: holds the inputs.
        models: of this process.

    Attributes:
        models: the same.
        files: waits for the inputs that were asked for, seekable files until `close` or the end of the block;
            StoreUnavailable where they cannot be fetched, ProcessingFailed where they are not what was accepted.
        predictor: waits for the model and warnings for the reader of the result; raises as `ModelCache`.
    """

    files: Callable[[], list[formats.Upload]]
    predictor: Callable[[], tuple[OnnxPredictor, tuple[str, ...]]]

    def __init__(self, store: ObjectStore, models: ModelCache) -> None:
        self._store = store
        self.models = models
        self._opened, self._fetching = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with self._opened, self._fetching:
            pass

    def fetch(self, request: Request) -> None:
        """Begin to fetch what a request names, on threads of their own."""
        self.files = self._fetching.enter_context(in_background(partial(self._fetch, request.inputs)))
        self.predictor = self._fetching.enter_context(in_background(lambda _: self.models.get(request.model)))

    def close(self) -> None:
        """Let go of the files: their volume was read."""
        self._opened.close()

    def _fetch(self, inputs: Sequence[InputFile], unwanted: Callable[[], bool]) -> list[formats.Upload]:
        """The inputs, as far as they are wanted."""
        wanted = takewhile(lambda _: not unwanted(), inputs)
        return [
            formats.Upload(file.name, self._opened.enter_context(self._fetched(file)), file.role) for file in wanted
        ]

    @contextmanager
    def _fetched(self, file: InputFile) -> Iterator[BinaryIO]:
        """An input as a seekable file, copied in chunks."""
        digest = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as local:
            with self._store.stream(file.key) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
                    local.write(chunk)
            if digest.hexdigest() != file.sha256:
                raise ProcessingFailed("An input changed after it was accepted; submit the study again.")
            local.seek(0)
            yield cast(BinaryIO, local)

"""The prerequisites of a job: its inputs, fetched on a background thread, and its model.

with JobInputs.fetch(request, store, models) as inputs:
    volume = formats.read_volume(inputs.files(), limits)
    predictor, warnings = inputs.predictor()
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import BinaryIO, Self, cast

from metseg import formats
from metseg.contracts import InputFile, Request
from metseg.errors import ProcessingFailed
from metseg.inference import ModelCache, OnnxPredictor
from metseg.parallel import in_background
from metseg.storage import ObjectStore

__all__ = ["JobInputs"]

MAX_IN_MEMORY_BYTES = 2**20
"""Larger files are kept on disk; smaller ones are many, and would use up the file descriptors."""


@dataclass(frozen=True)
class JobInputs:
    """The inputs and the model of one job.

    Attributes:
        models: of this process.
        files: waits for the input files and returns them, seekable; StoreUnavailable where they cannot be fetched,
            ProcessingFailed where they are not what was accepted.
        predictor: loads the model, if this process has not, and returns it with the warnings that the choice of it
            implies; raises as `ModelCache`.
        close_files: closes the input files, which are closed at the latest at the end of the block.
    """

    models: ModelCache
    files: Callable[[], list[formats.Upload]]
    predictor: Callable[[], tuple[OnnxPredictor, tuple[str, ...]]]
    close_files: Callable[[], None]

    @classmethod
    @contextmanager
    def fetch(cls, request: Request, store: ObjectStore, models: ModelCache) -> Iterator[Self]:
        """Fetch the inputs of a request, for the length of the block.

        Args:
            request: as accepted.
            store: holds the inputs.
            models: of this process.

        Yields:
            The inputs; fetching them continues in the background. The model is loaded when it is asked for, since a
            model that crashes the process must not be loaded before the attempt is counted.
        """
        with ExitStack() as opened, ExitStack() as fetching:  # which ends before the files are closed
            files = fetching.enter_context(in_background(partial(_fetch_all, store, request.inputs, opened)))
            yield cls(models, files, partial(models.get, request.model), opened.close)


def _fetch_all(
    store: ObjectStore, inputs: Sequence[InputFile], opened: ExitStack, unwanted: Callable[[], bool]
) -> list[formats.Upload]:
    """All inputs, or those that were fetched before they became unwanted."""
    wanted = takewhile(lambda _: not unwanted(), inputs)
    return [formats.Upload(file.name, opened.enter_context(_fetch(store, file)), file.role) for file in wanted]


@contextmanager
def _fetch(store: ObjectStore, file: InputFile) -> Iterator[BinaryIO]:
    """An input as a seekable file, copied in chunks."""
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY_BYTES) as local:
        with store.stream(file.key) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                local.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise ProcessingFailed("An input changed after it was accepted; submit the study again.")
        local.seek(0)
        yield cast(BinaryIO, local)
